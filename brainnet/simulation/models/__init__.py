"""Models of populations: what the neurons of one population do with their input, window by window."""
