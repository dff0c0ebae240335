"""Comes in: documents about machines and networks.
Goes out: machines that keep their number through their life, what changed, search and export.
Never: another site's machine overwritten; a dispute is shown until somebody decides."""
