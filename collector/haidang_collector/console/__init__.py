"""Comes in: what the collector and Prometheus know now.
Goes out: the status page and the boards, in Vietnamese and English.
Never: a change of anything."""
