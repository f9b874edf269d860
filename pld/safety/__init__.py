"""The safety filter, its limits, and the guards over the streams."""
