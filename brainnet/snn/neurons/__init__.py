"""Spiking neurons over whole sequences, and their surrogate gradient."""
