"""Outages: which sites are cut off, by what, and why.

graph (what a failure explains) and evidence (what was seen) stand alone; sight is what is up and down by it;
cause names a failure from both; engine keeps the outages (model); watch runs it in the collector, revise takes late
reports in; sla and report sum up a month; documented holds cables against the registry.
"""
