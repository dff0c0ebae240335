"""Comes in: statements of the rooms above, in transactions.
Goes out: rows, the schema and its migrations, the audit.
Never: a meaning: rooms keep the tables they own."""
