"""Continuous populations of spiking neurons, computed step by step so that the result depends on the seed alone.

Guarantee: the spikes of a network are the same, bit by bit, however its steps are cut into windows and its populations
are divided among processes. So weights are fixed-point numbers, whose sums have no order, and every random number is a
hash of what it is for.
"""
