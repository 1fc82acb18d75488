"""The protocol of a prompt: which are open, what each region answered, how the answers become one. Knows no bus."""
