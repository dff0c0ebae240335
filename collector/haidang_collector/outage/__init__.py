"""Outages: which sites are cut off, by what, and why.

graph (what a failure explains) and evidence (what was seen) stand alone; cause names a failure from
both; engine keeps the outages; watch runs it in the collector; ledger and sla keep and sum up.
"""
