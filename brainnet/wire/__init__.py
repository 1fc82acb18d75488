"""The wire: packets, typed messages, the contract of topics, and keys made from it. It knows nothing of Zenoh."""
