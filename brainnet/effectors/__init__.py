"""Effectors: the layout of motor packets, and the planar arm that brainnet simulates."""
