"""Encoders: the payloads of sensors as spikes of a population.

| module | takes | fires |
|---|---|---|
| `rate` | values in a range, such as pixels | at random, with a rate in proportion to the value |
| `latency` | values in a range, such as pixels | once for each payload, the sooner the larger the value |
| `change` | frames, or samples such as forces and EEG | when a value has changed by a threshold |
| `addresses` | events of an event camera | one neuron for each pixel and polarity |
| `cochlea` | audio | one neuron for each band of a gammatone filter bank |
| `voxels` | points | one neuron for each cell of space that is occupied |

All are driven alike, by a clock that names consecutive windows of steps: `Encoder.window`.
"""
