"""The launcher: the allocation file, the zygote that forks nodes, and the supervisor of the nodes of a host."""

from __future__ import annotations
