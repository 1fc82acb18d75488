"""Neuromorphic devices: their protocol, a software twin, and drivers over UDP."""

from brainnet.devices.protocol import (
    Counters,
    Device,
    DeviceInfo,
    Events,
    LayerRounding,
    LoadOptions,
    Port,
    RoundingReport,
    Start,
)
from brainnet.devices.twin import Twin

__all__ = [
    "Counters",
    "Device",
    "DeviceInfo",
    "Events",
    "LayerRounding",
    "LoadOptions",
    "Port",
    "RoundingReport",
    "Start",
    "Twin",
]
