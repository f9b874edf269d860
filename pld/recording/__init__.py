"""Episode bags: write, read, judge and recover them; no ROS needed."""
