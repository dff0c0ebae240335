"""Comes in: what reports say of paths, ports, power and agents.
Goes out: outages, each with cause and evidence, states of sites and circuits, measured availability.
Never: a wait for the database or a look at a clock while it judges.

`witness` is who may tell of what, `power` what says that it failed; `evidence` is what was seen; `sight` what is up and
down by it; `cause` names a failure from both and the topology; `engine` keeps the outages (`model`); `watch` runs it in
the collector, `revise` takes late reports in, `store` keeps them in the ledger; `sla` sums up a month.
"""
