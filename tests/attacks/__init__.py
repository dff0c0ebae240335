"""Attacks from outside, over HTTP, on a real collector: it stands, an honest agent's values are shown, the attacker is
counted."""
