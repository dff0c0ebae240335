"""The contract between agent and collector: standard library only, Python 3.9 and later."""

__version__ = "0.1.0"

RELEASED = 1_795_564_800.0
"""When this version was made (2026-11-25), in Unix seconds, written down with it: a clock that says less is wrong. (The
files' own times are the installing machine's, whose clock may be.)"""
