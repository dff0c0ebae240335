"""Devices over SNMP: session (the wire), profile (vendor knowledge as data), poll (one device once)."""
