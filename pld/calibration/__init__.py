"""Where the cameras are and what they see: files, boards and the hand-eye solution."""
