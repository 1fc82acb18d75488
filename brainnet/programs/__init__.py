"""Node programs of the runtime, for files that are not Python."""
