"""The wire format: packets, typed messages, the contract of topics, and keys made from it. Independent of Zenoh."""
