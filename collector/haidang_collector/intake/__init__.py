"""Comes in: the bytes of a delivery, and who sends it.
Goes out: reports that are checked, rendered and on disk, once each; a receipt that names what is not.
Never: an exception of one report that reaches another."""
