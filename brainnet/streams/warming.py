"""Computes a window that does not count: what runs for the first time is slower, and the first one is due in time."""

from __future__ import annotations

import numpy as np

from brainnet.simulation.network import Network
from brainnet.simulation.spikes import Spikes
from brainnet.streams.window import SpikeWindow, decode_window, encode_window


def warm_up(network: Network, window: int) -> None:
    """Let a network that has computed nothing compute a window, with a spike from everywhere, and forget it.

    Args:
        network: The populations of one process.
        window: Steps of a window.
    """
    if any(population.model.acts_outside for population in network.populations.values()):
        return  # a device in the world would act on that spike
    before = {name: population.save() for name, population in network.populations.items()}
    for source in network.sources:
        spikes = Spikes(0, np.r_[0, np.ones(window)].astype(np.int32), np.zeros(1, np.int32))
        network.receive(source, spikes)
    fired = network.advance(window)
    for name, spikes in fired.items():
        setting = network.populations[name].model.setting
        dt_us = max(1, round(setting.dt_ms * 1000))
        decode_window(encode_window(SpikeWindow(name, "", 0, setting.size, dt_us, spikes.offsets, spikes.neurons)))
    for name, population in network.populations.items():
        population.load(before[name])
