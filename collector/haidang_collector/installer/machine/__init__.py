"""Comes in: the collector's address and its CA's fingerprint, a token, what this machine has of an agent.
Goes out: an agent that delivers, or what was before.
Never: anything but Python 3.9's own library; an import from outside this folder, which travels alone (as `machine`, in
install.sh)."""
