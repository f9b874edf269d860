"""The ROS 2 graph: one thin shell per process."""
