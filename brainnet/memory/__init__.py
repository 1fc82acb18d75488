"""Durable memory: episodes in SQLite, found again by full text and by vector, in context.

Knows nothing of the bus or of any model: whoever stores brings the vector.
"""

from brainnet.memory.fusion import convex_combination
from brainnet.memory.index import EpisodeIndex
from brainnet.memory.meanings import Meanings
from brainnet.memory.store import Episode, EpisodicStore, Hit, NewEpisode, StoreStats
from brainnet.memory.text_index import TextIndex
from brainnet.memory.vectors import VectorIndex

__all__ = [
    "Episode",
    "EpisodeIndex",
    "EpisodicStore",
    "Hit",
    "Meanings",
    "NewEpisode",
    "StoreStats",
    "TextIndex",
    "VectorIndex",
    "convex_combination",
]
