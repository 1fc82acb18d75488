"""The broker: accepts prompts durably, hands them to the brain as fast as it answers, publishes each one's one answer.

It runs in the launcher's process, beside the hub: without the hub nobody can reach the brain at all, so the broker adds
no process whose end could lose a prompt. Every node may die at any moment; what they have not answered is handed out
again when they return.
"""

from __future__ import annotations

from brainnet.broker.broker import Broker, Unavailable
from brainnet.broker.journal_writer import JournalWriter
from brainnet.prompts import Limits

__all__ = ["Broker", "JournalWriter", "Limits", "Unavailable"]
