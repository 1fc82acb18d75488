"""A module that opens a Zenoh session when it is imported."""

from __future__ import annotations

import zenoh

config = zenoh.Config()
config.insert_json5("listen/endpoints", "[]")
config.insert_json5("scouting/multicast/enabled", "false")
session = zenoh.open(config)
