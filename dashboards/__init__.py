"""Grafana's dashboards as code: a file a dashboard, what they share in shared.py, Vietnamese in texts.py.

`make dashboards` writes them to json/, where Grafana's provisioning reads them.
"""
