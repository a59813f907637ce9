"""What a registry shows as OpenMetrics, read by the strict parser of that format."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families

__all__ = ["parse_openmetrics", "show_openmetrics"]


def show_openmetrics(registry: CollectorRegistry) -> str:
    """The registry's metrics, as a client gets them that asks for OpenMetrics."""
    encode, _ = choose_encoder("application/openmetrics-text")
    return encode(registry).decode()


def parse_openmetrics(text: str) -> list[Metric]:
    """The families of metrics in ``text``, if it keeps to the format in every point."""
    return list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call] # it has no annotations
