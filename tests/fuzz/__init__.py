"""Whole deliveries made of real reports, broken in every way, into a real collector's parts."""
