"""The residual specialist: actor, critics, replay, Cal-QL, checkpoints."""
