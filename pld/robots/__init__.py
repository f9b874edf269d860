"""Arms behind one protocol: Franka hardware, the lockstep twin, a fake."""
