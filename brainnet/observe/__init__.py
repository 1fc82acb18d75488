"""Observes the topics of a running brain, as a library: keys, messages, rates, rasters, traffic."""
