"""What an application has to know of the pipeline: the variables of ``application.env``."""

from __future__ import annotations

from multiagents_otel.stack.parameter import Values


def variables(values: Values) -> list[str]:
    """Lines of an environment file, without comments behind the values: not every reader knows these."""
    return [
        f"OTEL_SERVICE_NAME={values['service_name']}",
        f"OTEL_EXPORTER_OTLP_ENDPOINT={values['otlp_endpoint']}",
        "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
        f"OTEL_METRIC_EXPORT_INTERVAL={values['metric_export_ms']}",
    ]
