"""What hosted models do, for Prometheus; what runs inside a service is part of its stage."""

from prometheus_client import Counter, Histogram

from interlock.models.port import ModelResponse

CALLS = Counter("interlock_model_calls", "Calls of models", ["provider", "model", "outcome"])
TOKENS = Counter("interlock_model_tokens", "Tokens of models", ["provider", "model", "kind"])
SECONDS = Histogram(
    "interlock_model_seconds",
    "From asking a model to its answer",
    ["provider", "model"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300),
)


def answered(response: ModelResponse, seconds: float) -> None:
    """Count an answer, the tokens it took and how long it was under way."""
    names = (response.provider, response.model)
    CALLS.labels(*names, "answered").inc()
    SECONDS.labels(*names).observe(seconds)
    TOKENS.labels(*names, "input").inc(response.input_tokens or 0)
    TOKENS.labels(*names, "output").inc(response.output_tokens or 0)


def not_answered(provider: str, model: str, outcome: str) -> None:
    """Count a call that came to nothing: `passed`, or `cancelled` because another was first."""
    CALLS.labels(provider, model, outcome).inc()
