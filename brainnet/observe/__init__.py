"""Reading a running brain's topics as a library: keys, messages, rates, rasters, traffic."""
