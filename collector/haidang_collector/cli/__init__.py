"""Comes in: a command line of an administrator on the collector's machine.
Goes out: what it changes, through the same functions as HTTP, noted in the audit; words for a terminal.
Never: a rule of its own about what may be."""
