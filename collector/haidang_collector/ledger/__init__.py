"""Comes in: statements of the rooms above, in transactions that write, one at a time, or that read beside them.
Goes out: rows, the schema and its migrations, the audit. What databases differ in is known here alone (`sqlite.py`,
`statements.py`).
Never: a meaning: rooms keep the tables they own."""
