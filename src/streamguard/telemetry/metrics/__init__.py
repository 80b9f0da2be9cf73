"""Observations as metrics of Prometheus. Needs the extra `metrics`."""

from .metric import Kind, Label, Merging, Metric
from .prometheus import PrometheusMetrics
from .table import PREFIX, TABLE

__all__ = ["PREFIX", "TABLE", "Kind", "Label", "Merging", "Metric", "PrometheusMetrics"]
