"""Networks exchanged with other frameworks as NIR graphs."""
