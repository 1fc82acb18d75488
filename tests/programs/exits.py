"""A program that ends while it is imported."""

from __future__ import annotations

import os
import sys

from brainnet import Node

print("the sensor is not plugged in", file=sys.stderr, flush=True)
os._exit(7)


class Exits(Node):
    """Never comes to be."""
