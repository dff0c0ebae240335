"""Comes in: connections and requests of strangers, agents, Prometheus and operators; a file an audience.
Goes out: answers, every error an RFC 9457 problem.
Never: a decision about reports; what is behind does not know that there is HTTP."""
