"""Which machines the province has: each one machine for its whole life, its documents, and what changed in them."""
