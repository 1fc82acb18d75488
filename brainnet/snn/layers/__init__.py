"""What stands between layers of neurons: attention, recurrences, normalisation."""
