"""The table of OpenTelemetry's environment variables, compared with those that the installed OpenTelemetry declares."""

from __future__ import annotations

import re
from typing import Final

from opentelemetry import environment_variables as of_api
from opentelemetry.sdk import environment_variables as of_sdk

from multiagents_otel.config.environment import ANYTHING, VARIABLES
from tests.support.otel_variables import declared

BY_PIPELINE: Final = {
    "OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER", "OTEL_TRACES_SAMPLER",
    "OTEL_PYTHON_ID_GENERATOR", "OTEL_CONFIG_FILE",
}  # fmt: skip
"""Variables whose reports the pipeline makes, and tests/integration/test_auto_instrument.py tests."""

EARLY: Final = {"OTEL_PYTHON_EVENT_LOGGER_PROVIDER"}
"""Variables that the oldest versions allowed declare and the newest do not."""

LATE: Final = {
    "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_PYTHON_EXPORTER_OTLP_GRPC_RETRYABLE_ERROR_CODES",
    "OTEL_PYTHON_LOGGER_CONFIGURATOR",
    "OTEL_PYTHON_LOG_AUTO_INSTRUMENTATION",
    "OTEL_PYTHON_LOG_CODE_ATTRIBUTES",
    "OTEL_PYTHON_METER_CONFIGURATOR",
    "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED",
    "OTEL_PYTHON_TRACER_CONFIGURATOR",
}
"""Variables that the newest versions declare and the oldest allowed do not."""


def test_every_variable_that_opentelemetry_declares_is_in_the_table() -> None:
    constants = {
        value for module in (of_api, of_sdk) for name, value in vars(module).items() if re.match("_?OTEL_", name)
    }
    assert "OTEL_PYTHON_LOGGER_PROVIDER" in constants & declared()
    assert declared() - BY_PIPELINE - ANYTHING - VARIABLES.keys() == set()


def test_every_variable_of_the_table_is_one_that_opentelemetry_declares() -> None:
    other = EARLY if hasattr(of_sdk, "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED") else LATE
    assert VARIABLES.keys() - declared() == other
