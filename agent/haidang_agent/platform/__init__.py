"""Comes in: a wish for what operating systems differ in (memory, routes, private files).
Goes out: the same answer everywhere.
Never: a measurement of its own."""
