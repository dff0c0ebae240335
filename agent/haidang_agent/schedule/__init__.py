"""Comes in: sources and their intervals.
Goes out: a report each time, each source in its own thread.
Never: one source that holds up another."""
