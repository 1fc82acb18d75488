"""Layers between neurons: attention, recurrence and normalisation."""
