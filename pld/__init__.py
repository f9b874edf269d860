"""Probe, Learn, Distill: everything that is true without ROS."""
