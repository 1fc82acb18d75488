"""From numbers, tokens, events and integers to spikes, and back."""
