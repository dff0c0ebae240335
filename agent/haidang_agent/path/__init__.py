"""Comes in: paths of the assignment, packets that come back.
Goes out: whether each path is up, loss, delay, routes and MTUs.
Never: a word about paths nobody assigned."""
