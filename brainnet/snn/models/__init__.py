"""The networks that the regions run, and their parts."""
