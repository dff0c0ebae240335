"""Comes in: circuits of the registry, neighbours that devices tell of, devices heard on networks.
Goes out: links with who said them and when, the graph of sites and circuits, and where cables are not as written.
Never: whether something is up."""
