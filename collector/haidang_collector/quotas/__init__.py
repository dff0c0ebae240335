"""Comes in: what an agent sends and what of it is kept.
Goes out: how much more it may, and how long it has to wait.
Never: a look at another agent."""
