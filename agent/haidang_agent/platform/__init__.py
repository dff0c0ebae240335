"""Comes in: a wish for what operating systems differ in: folders, the life of a service, users and private files,
children, packets, clocks.
Goes out: the same answer everywhere.
Never: a measurement of its own."""
