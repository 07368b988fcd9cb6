"""How well a tracker does: sequences, the one-pass protocol, and its measures."""
