"""The allocation as data: its file, hosts, nodes and programs. Nothing here starts a node."""
