"""Comes in: stored reports.
Goes out: what is current as text for Prometheus, what came late by remote write.
Never: a value older than its report promised."""
