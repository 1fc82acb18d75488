"""What runs: the zygote, the supervisor of a host, and the nodes that it manages."""
