"""Codes: numbers, tokens, events and integers as spikes, and the decoders."""
