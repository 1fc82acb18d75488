"""What a network of populations is: the files that describe it, and what can be said of it before it runs."""
