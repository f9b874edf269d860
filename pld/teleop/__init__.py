"""Teleoperation: devices, their readings as actions in base axes, and who has control."""
