"""Comes in: what reports say of services, machines and sites.
Goes out: the province's figures beside its targets, now and by day.
Never: anything entered by hand."""
