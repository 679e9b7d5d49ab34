"""Logs, metrics and traces: structlog JSON, Prometheus, OpenTelemetry (off unless configured)."""

import logging
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache
from typing import Any, TextIO

import structlog
from opentelemetry import trace
from opentelemetry.trace import SpanKind, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import Counter, Gauge, Histogram

from interlock.runtime.settings import Settings
from interlock_contracts.event import Event

EVENTS_IN = Counter("interlock_events_in", "Events taken by a stage", ["stage", "event"])
EVENTS_OUT = Counter("interlock_events_out", "Events committed by a stage", ["stage", "event"])
RETRIES = Counter("interlock_retries", "Deliveries handed back for later", ["stage", "code"])
DEAD_LETTERS = Counter("interlock_dead_letters", "Dead letters", ["stage", "area", "code"])
LATENCY = Histogram(
    "interlock_stage_seconds",
    "From taking an event to acknowledging it",
    ["stage"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
LAG = Gauge("interlock_lag", "Messages that wait for a stage", ["stage"])
HELD = Gauge("interlock_held", "Messages a stage is working on", ["stage"])

_current: ContextVar[Event | None] = ContextVar("interlock_event", default=None)

_PROPAGATOR = TraceContextTextMapPropagator()


@cache
def _labelled(counter: Counter, stage: str, event: str) -> Counter:
    return counter.labels(stage, event)


def count(counter: Counter, stage: str, event: str) -> None:
    """Count one event; looking the labels up costs more than counting."""
    _labelled(counter, stage, event).inc()


def configure_logs(level: str, file: TextIO | None = None) -> None:
    """JSON lines with whatever is bound to the context (request, tenant, …).

    They go to `file`, or to whatever standard error is when a line is written.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _about,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _exception_type_only,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: structlog.WriteLogger(file or sys.stderr),
        cache_logger_on_first_use=False,  # loggers are made at import, before this is known
    )
    logging.basicConfig(level=logging.WARNING, stream=file or sys.stderr)
    logging.getLogger("nats").setLevel(logging.CRITICAL)


def about(event: Event) -> AbstractContextManager[None]:
    """Every log line written inside says which request, tenant, event and trace it is about."""
    return _About(event)


class _About:
    """A context manager by hand: one made of a generator costs three times as much."""

    __slots__ = ("_event", "_token")

    def __init__(self, event: Event) -> None:
        self._event = event

    def __enter__(self) -> None:
        self._token = _current.set(self._event)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


def _about(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event = _current.get()
    if event is not None:
        entry.setdefault("request", event.subject.request_id)
        entry.setdefault("tenant", event.subject.tenant)
        entry.setdefault("event_id", event.id)
        if event.traceparent is not None:
            entry.setdefault("trace", event.traceparent[3:35])
    return entry


def _exception_type_only(
    _logger: Any, _method: str, entry: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Say where an exception came from without its message, which may quote private input."""
    error = entry.pop("exc_info", None)
    if isinstance(error, BaseException):
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        where = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else "?"
        entry["error"] = f"{type(error).__name__} at {where}"
    return entry


def configure_traces(settings: Settings, service: str) -> None:
    """Export spans to a collector, if one is configured."""
    if settings.otlp_endpoint is None:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

    provider = TracerProvider(
        resource=Resource.create({"service.name": f"interlock-{service}"}),
        sampler=ParentBasedTraceIdRatio(settings.trace_ratio),
    )
    exporter = OTLPSpanExporter(endpoint=f"{settings.otlp_endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


def stage_tracer() -> Tracer | None:
    """The tracer for stages; None while no provider is configured."""
    from opentelemetry.sdk.trace import TracerProvider  # a tenth of the command line's start

    configured = isinstance(trace.get_tracer_provider(), TracerProvider)
    return trace.get_tracer("interlock") if configured else None


def stage_span(
    tracer: Tracer | None, stage: str, event: str, traceparent: str | None
) -> AbstractContextManager[str | None]:
    """A span for one event, child of the span that made the event; yields its traceparent.

    Where tracing is off (no tracer) the incoming traceparent is passed on unchanged.
    """
    if tracer is None:
        return nullcontext(traceparent)
    return _span(tracer, stage, event, traceparent)


@contextmanager
def _span(tracer: Tracer, stage: str, event: str, traceparent: str | None) -> Iterator[str | None]:
    parent = _PROPAGATOR.extract({"traceparent": traceparent}) if traceparent else None
    with tracer.start_as_current_span(
        f"{stage} {event}",
        context=parent,
        kind=SpanKind.CONSUMER,
        record_exception=False,  # an exception's message may quote private input
        set_status_on_exception=False,
    ):
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier)
        yield carrier.get("traceparent", traceparent)
