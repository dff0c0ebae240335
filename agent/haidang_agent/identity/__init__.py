"""Comes in: a token, an address of the collector, a fingerprint.
Goes out: the agent's key and certificate, renewed in time.
Never: a key that leaves the machine."""
