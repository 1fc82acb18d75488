"""Node programs that come with the runtime, for files that are no programs themselves."""
