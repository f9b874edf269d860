"""Teleoperation devices."""
