"""What shall run: the allocation file, its hosts and nodes. Data; nothing here starts a process."""
