"""OpenTelemetry traces of streams (extra `[otel]`): an observer that needs the API package only."""

from .observer import OpenTelemetryTracing

__all__ = ["OpenTelemetryTracing"]
