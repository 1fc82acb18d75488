"""Spiking neurons over whole sequences, and the surrogate gradient they learn by."""
