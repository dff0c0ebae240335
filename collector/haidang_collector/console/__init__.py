"""The status page: for places without Grafana, and for the telephone at night."""
