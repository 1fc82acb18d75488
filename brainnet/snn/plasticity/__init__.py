"""Learning rules that change weights and thresholds while a network runs."""
