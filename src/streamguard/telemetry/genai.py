"""OpenTelemetry's metrics of model calls, by the semantic conventions for generative AI (extra `[otel]`).

Source (in development):
https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/gen-ai-metrics.md
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..distribution import install_command
from ..errors import ConfigurationError
from ..observations import Observation, Signal
from ..values import Outcome

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram, Meter, MeterProvider

__all__ = ["Model", "OpenTelemetryMetrics"]

_SECONDS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS: Final = tuple(4**power for power in range(14))
"""Both as the conventions say."""
_TOKEN_TYPES: Final[Mapping[str, str]] = {
    "input_tokens": "input",
    "prompt_tokens": "input",
    "output_tokens": "output",
    "completion_tokens": "output",
}
"""Units of usage that say whether a token went in or came out. `tokens` does not."""
_BROKEN: Final = frozenset({Outcome.FAILED, Outcome.INTERRUPTED})


@dataclass(frozen=True, slots=True)
class Model:
    """What an endpoint calls, as the metrics name it."""

    provider: str
    """`gen_ai.provider.name`: `openai`, `anthropic`, `aws.bedrock`…"""
    name: str | None = None
    """`gen_ai.request.model`; None where requests decide it."""
    operation: str = "chat"
    """`gen_ai.operation.name`."""


class OpenTelemetryMetrics:
    """Records `gen_ai.client.*` for the endpoints whose model's library is not instrumented itself.

        OpenTelemetryMetrics({"chat": Model("anthropic", "claude-…")})

    Only endpoints that are named here are recorded: an instrumentation of the model's library records the same metrics
    for its calls, and nobody can see from outside whether there is one. Name an endpoint here, or instrument what it
    calls, not both. An endpoint that makes several calls counts as one operation.

    - `gen_ai.client.operation.duration`: from the endpoint's begin until it is through, with `error.type`, the fault's
      code, for an answer that failed or was interrupted;
    - `gen_ai.client.operation.time_to_first_chunk`: from its begin to its first item;
    - `gen_ai.client.token.usage`: once for `input` and once for `output`, where the endpoint or its stream tells
      `input_tokens` (or `prompt_tokens`) and `output_tokens` (or `completion_tokens`).

    Args:
        models: by the binding of the endpoint: `@guard.stream(binding="chat")`.
        meter_provider: the global one by default.

    Raises:
        ConfigurationError: the package `opentelemetry-api` is missing, or a value is not a `Model`.
    """

    signals: frozenset[Signal] = frozenset({Signal.FIRST_EVENT, Signal.STREAM_ENDED})

    def __init__(self, models: Mapping[str, Model], *, meter_provider: MeterProvider | None = None) -> None:
        try:
            from opentelemetry import metrics  # noqa: PLC0415 -- an extra
        except ImportError as exc:
            raise ConfigurationError(
                f"OpenTelemetryMetrics needs opentelemetry-api: {install_command('otel')}"
            ) from exc
        if not all(isinstance(model, Model) for model in models.values()):
            raise ConfigurationError('models are given by binding: OpenTelemetryMetrics({"chat": Model("openai")})')
        self._attributes: Mapping[str, dict[str, str]] = {
            binding: _attributes(model) for binding, model in models.items()
        }
        meter = metrics.get_meter("streamguard", meter_provider=meter_provider)
        self._duration = _histogram(meter, "operation.duration", "s", "GenAI operation duration.", _SECONDS)
        self._first_chunk = _histogram(
            meter, "operation.time_to_first_chunk", "s", "Time to receive the first chunk.", _SECONDS
        )
        self._tokens = _histogram(meter, "token.usage", "{token}", "Number of input and output tokens used.", _TOKENS)

    def __call__(self, observation: Observation) -> None:
        """Record what a first event or an end tells."""
        fields = observation.fields
        attributes = self._attributes.get(str(fields.get("binding")))
        if attributes is None:
            return
        if observation.name is Signal.FIRST_EVENT:
            if (waited := _number(fields.get("provider_seconds"))) is not None:
                self._first_chunk.record(waited, attributes)
            return
        ran = _number(fields.get("endpoint_seconds"))
        if ran is None:  # it was never called
            return
        fault = observation.fault if fields.get("outcome") in _BROKEN else None
        self._duration.record(ran, attributes if fault is None else {**attributes, "error.type": str(fault.code)})
        for type_, amount in _tokens(fields).items():
            self._tokens.record(amount, {**attributes, "gen_ai.token.type": type_})


def _attributes(model: Model) -> dict[str, str]:
    named = {"gen_ai.operation.name": model.operation, "gen_ai.provider.name": model.provider}
    return named if model.name is None else {**named, "gen_ai.request.model": model.name}


def _tokens(fields: Mapping[str, object]) -> dict[str, int]:
    """The tokens of each type, where any were told."""
    found: dict[str, int] = {}
    for unit, type_ in _TOKEN_TYPES.items():
        amount = fields.get(f"used_{unit}")
        if isinstance(amount, int):
            found.setdefault(type_, amount)
    return found


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _histogram(meter: Meter, name: str, unit: str, description: str, bounds: Sequence[float]) -> Histogram:
    create: Any = meter.create_histogram
    advice = "explicit_bucket_boundaries_advisory"  # of opentelemetry-api 1.30 and later
    known = advice in inspect.signature(create).parameters
    made: Histogram = create(
        f"gen_ai.client.{name}", unit=unit, description=description, **({advice: list(bounds)} if known else {})
    )
    return made
