"""Bodies: what travels to and from them, and the planar arm that brainnet simulates."""
