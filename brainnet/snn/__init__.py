"""Spiking networks: neurons, recurrences, models and their inference kernels.

Import the module that is needed (`brainnet.snn.neurons.lif`); this package itself imports nothing, so it stays cheap.
"""
