"""Rules by which connections and thresholds change while a network runs."""
