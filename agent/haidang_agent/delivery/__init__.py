"""Comes in: reports of sources.
Goes out: deliveries to the collector, kept in the spool until acknowledged; the assignment that comes back.
Never: a report lost that was not said to be."""
