"""The source of the Grafana dashboards in ``collector-config``: ``python -m multiagents_otel.tools.deploy.dashboards``.

One module for each board, in the words of a reader of the board; how a panel, a query and a link are made is in
``panels``, ``promql`` and ``traces``. The generated files are what users have.
"""
