"""Documents as passages: text, Markdown, HTML and PDF files, divided into parts of a few sentences with their place.

Nothing here knows a brain; `brainnet.client.ingest` stores what it makes.
"""

from brainnet.documents.finding import SUFFIXES, DocumentFile, find_documents
from brainnet.documents.passages import Passage, passages_of, sentence_ends
from brainnet.documents.reading import Document, read_document

__all__ = [
    "SUFFIXES",
    "Document",
    "DocumentFile",
    "Passage",
    "find_documents",
    "passages_of",
    "read_document",
    "sentence_ends",
]
