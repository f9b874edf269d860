"""Probing: when the specialist takes over, who is chosen, how an episode lives."""
