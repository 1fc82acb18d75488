"""The running part of the launcher: the zygote, the supervisor of a host, and the nodes that it manages."""
