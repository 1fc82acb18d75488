"""Durable memory: episodes in SQLite, searched by full text and by vector, with the context of their session.

The package does not depend on the message bus or on a model: the caller supplies the vectors.
"""

from brainnet.memory.consolidation import consolidate_facts
from brainnet.memory.database import DamagedStoreError
from brainnet.memory.episodes import EXCHANGE, FACT, PASSAGE, STATEMENT, Episode, Hit, NewEpisode, StoreStats
from brainnet.memory.forgetting import Forgotten
from brainnet.memory.fusion import convex_combination
from brainnet.memory.index import EpisodeIndex
from brainnet.memory.languages import LANGUAGES, guess_language, stop_words
from brainnet.memory.plain_text import fold, kinship, plain_words, terms
from brainnet.memory.retention import log_retention
from brainnet.memory.salvage import replace_damaged
from brainnet.memory.store import EpisodicStore
from brainnet.memory.term_embeddings import TermEmbeddings
from brainnet.memory.text_index import TextIndex
from brainnet.memory.vectors import VectorIndex

__all__ = [
    "EXCHANGE",
    "FACT",
    "LANGUAGES",
    "PASSAGE",
    "STATEMENT",
    "DamagedStoreError",
    "Episode",
    "EpisodeIndex",
    "EpisodicStore",
    "Forgotten",
    "Hit",
    "NewEpisode",
    "StoreStats",
    "TermEmbeddings",
    "TextIndex",
    "VectorIndex",
    "consolidate_facts",
    "convex_combination",
    "fold",
    "guess_language",
    "kinship",
    "log_retention",
    "plain_words",
    "replace_damaged",
    "stop_words",
    "terms",
]
