"""Spike codes in which the processes of a brain speak: texts, and the values of a controller."""
