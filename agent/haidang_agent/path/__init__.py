"""Paths measured end to end: liveness and figures of one path, the prober of all, discovery of a route."""
