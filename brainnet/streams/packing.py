"""Writes the windows of a process as the others read them."""

from __future__ import annotations

from collections.abc import Callable

from brainnet.simulation.network import Network
from brainnet.simulation.spikes import Spikes
from brainnet.streams.window import SpikeWindow, encode_window


def packer(network: Network, run: Callable[[], str], window: int) -> Callable[[str, Spikes], bytes]:
    """Return what writes a window of one of the populations.

    Args:
        network: The populations of a process.
        run: Returns the name of the run, which may be known only when the network begins.
        window: Steps of a window.
    """
    settings = {name: population.model.setting for name, population in network.populations.items()}

    def pack(name: str, spikes: Spikes) -> bytes:
        setting = settings[name]
        # Numbered on the grid of windows, also after a resume.
        number = spikes.first_step // window + 1
        dt_us = round(setting.dt_ms * 1000)
        first, offsets, fired = spikes.first_step, spikes.offsets, spikes.neurons
        return encode_window(SpikeWindow(name, run(), first, setting.size, dt_us, offsets, fired, number))

    return pack
