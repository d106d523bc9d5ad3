"""The pipeline behind the application: the files of ``collector-config/``, and what makes a user's own copy of them.

Collector, Prometheus, Alertmanager and Grafana read these files; nothing here runs inside the application.
"""
