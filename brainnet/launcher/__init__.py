"""From an allocation to running processes: the allocation file, the zygote that forks nodes, and their supervisor."""

from __future__ import annotations
