"""Comes in: circuits of the registry, neighbours that devices tell of.
Goes out: the graph of sites and circuits, and where cables are not as written.
Never: whether something is up."""
