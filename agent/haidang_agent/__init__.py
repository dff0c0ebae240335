"""The agent: sources measure, the spool keeps, the uplink delivers."""
