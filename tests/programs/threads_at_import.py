"""A module that starts a thread when it is imported, as one that opens a Zenoh session does."""

from __future__ import annotations

import threading

threading.Thread(target=threading.Event().wait, daemon=True).start()
