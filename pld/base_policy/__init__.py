"""Base policies: the scripted ones, the built-in VLA, and how chunks are played."""
