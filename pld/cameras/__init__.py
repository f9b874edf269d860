"""Cameras: RealSense, a fake, and what keeps one alive."""
