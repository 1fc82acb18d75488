"""Measurements of this installation, each beside a rival that is measured in the same run."""
