"""The source of the Grafana dashboards: ``python -m dashboards`` writes ``collector-config/grafana/dashboards``.

One module for each board, in the words of a reader of the board; how a panel, a query and a link are made is in
``panels``, ``promql`` and ``traces``. Not part of the package: users have the generated files.
"""
