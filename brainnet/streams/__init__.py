"""Streams of spikes between processes: windows in order, none twice and none missing, and clocks.

Guarantee in lock-step: the spikes of a network are those that one process would compute, whatever is lost, repeated or
delayed on the way, and whichever process is killed and resumed.
"""
