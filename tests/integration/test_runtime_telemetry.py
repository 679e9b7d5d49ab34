"""What a stage tells: traces from stage to stage, counters, log lines with ids and no content."""

import io
import json
from collections.abc import Iterator, Sequence

import pytest
import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.support.broker import connected
from tests.support.system import a_request, echo, running_stage, submit, wait_logged

from interlock.runtime import telemetry
from interlock.runtime.broker.server import EmbeddedBroker
from interlock.runtime.errors import RetryLater
from interlock.runtime.stage import Draft, Input
from interlock_contracts.failures import FailureCode
from interlock_contracts.ids import new_request_id

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """A provider as `configure_traces` would set, for one test."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setattr(trace, "get_tracer", lambda name: provider.get_tracer(name))
    yield exporter
    provider.shutdown()


async def two_stages(broker: EmbeddedBroker, traceparent: str | None) -> str:
    """A request through router and retriever; the traceparent of what came out."""
    request = a_request()
    headers = None if traceparent is None else {"traceparent": traceparent}
    async with running_stage(broker), running_stage(broker, echo, "retriever"):
        async with connected(broker, "producer-acme") as client:
            subject = f"ev.request.acme.{request.request_id}.0"
            await client.request(subject, request.model_dump_json().encode(), headers=headers)
        (found,) = await wait_logged(broker, f"ev.context.acme.{request.request_id}.0")
    return found.headers.get("traceparent", "")


async def test_each_span_is_the_child_of_the_one_that_made_its_event(
    fresh_broker: EmbeddedBroker, spans: InMemorySpanExporter
) -> None:
    last = await two_stages(fresh_broker, TRACEPARENT)
    first, second = spans.get_finished_spans()
    assert [span.name for span in (first, second)] == ["intent-router request", "retriever route"]
    assert first.parent is not None
    assert second.parent is not None
    assert first.parent.span_id == int(SPAN_ID, 16)
    assert second.parent.span_id == first.context.span_id
    assert {first.context.trace_id, second.context.trace_id} == {int(TRACE_ID, 16)}
    assert last == f"00-{TRACE_ID}-{second.context.span_id:016x}-01"


@pytest.mark.parametrize("sent", [None, "nonsense"])
async def test_without_a_usable_traceparent_a_trace_begins(
    fresh_broker: EmbeddedBroker, spans: InMemorySpanExporter, sent: str | None
) -> None:
    await two_stages(fresh_broker, sent)
    first, second = spans.get_finished_spans()
    assert first.parent is None
    assert second.parent is not None
    assert second.parent.span_id == first.context.span_id


async def test_a_failing_stage_leaves_no_content_in_its_span(
    fresh_broker: EmbeddedBroker, spans: InMemorySpanExporter
) -> None:
    async def stage(given: Input) -> Sequence[Draft]:
        raise KeyError(given.case.request.text)

    async with running_stage(fresh_broker, stage, max_deliver=1):
        await submit(fresh_broker, a_request("my-private-words"))
        await wait_logged(fresh_broker, "ev.dead.>")
    told = "".join(span.to_json() for span in spans.get_finished_spans())
    assert told
    assert "my-private-words" not in told


async def test_with_tracing_off_the_traceparent_is_passed_on_unchanged(
    fresh_broker: EmbeddedBroker,
) -> None:
    assert await two_stages(fresh_broker, TRACEPARENT) == TRACEPARENT


async def test_the_counters_are_there(fresh_broker: EmbeddedBroker) -> None:
    broken = True

    async def stage(given: Input) -> Sequence[Draft]:
        if broken:
            raise RetryLater(FailureCode.MODEL_UNAVAILABLE, "not now")
        return await echo(given)

    names = {
        "in": 'interlock_events_in_total{event="request",stage="intent-router"}',
        "out": 'interlock_events_out_total{event="route",stage="intent-router"}',
        "retries": 'interlock_retries_total{code="model_unavailable",stage="intent-router"}',
        "dead": (
            'interlock_dead_letters_total{area="runtime",code="model_unavailable",'
            'stage="intent-router"}'
        ),
        "latency": 'interlock_stage_seconds_count{stage="intent-router"}',
    }
    async with running_stage(fresh_broker, stage, max_deliver=2) as running:

        async def values() -> dict[str, float]:
            _, text = await running.get("/metrics")
            found = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
            return {short: float(found.get(name, 0)) for short, name in names.items()}

        before = await values()
        await submit(fresh_broker, a_request())
        await wait_logged(fresh_broker, "ev.dead.>")
        broken = False
        await submit(fresh_broker, a_request())
        await wait_logged(fresh_broker, "ev.route.>")
        while (after := await values())["latency"] < before["latency"] + 3:
            pass
        assert {name: after[name] - before[name] for name in names} == {
            "in": 3, "out": 1, "retries": 1, "dead": 1, "latency": 3,
        }  # fmt: skip
        _, text = await running.get("/metrics")
        for gauge in ("interlock_lag", "interlock_held"):
            assert f"# TYPE {gauge} gauge" in text
        assert (await running.get("/nothing"))[0] == 404


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    """Logs as a service writes them; afterwards as before."""
    before, written = structlog.get_config(), io.StringIO()
    telemetry.configure_logs("debug", written)
    yield written
    structlog.configure(**before)


async def test_log_lines_are_json_with_ids_and_never_the_text(
    fresh_broker: EmbeddedBroker, log_lines: io.StringIO
) -> None:
    log = structlog.get_logger("a stage")

    async def stage(given: Input) -> Sequence[Draft]:
        log.info("deciding")
        raise ValueError(given.case.request.text)

    request = a_request("my-private-words")
    bad_id = new_request_id()
    async with running_stage(fresh_broker, stage, max_deliver=2):
        async with connected(fresh_broker, "producer-acme") as client:
            for request_id, body in (
                (request.request_id, request.model_dump_json().encode()),
                (bad_id, b'{"text": "my-private-words", "my-private-words": 1}'),
            ):
                subject = f"ev.request.acme.{request_id}.0"
                await client.request(
                    subject, body, headers={"traceparent": TRACEPARENT, "ce-id": "my-private-words"}
                )
        await wait_logged(fresh_broker, "ev.dead.>", 2)
    written = log_lines.getvalue()
    assert "my-private-words" not in written
    lines = [json.loads(line) for line in written.splitlines()]
    about = [line for line in lines if line.get("request") in (request.request_id, bad_id)]
    said = {line["event"] for line in about}
    assert {"deciding", "stage_failed", "retry_later", "dead_letter"} <= said
    for line in about:
        assert line["tenant"] == "acme"
        assert len(line["event_id"]) == 26
        assert line["timestamp"].endswith("Z")
    assert {line.get("trace") for line in about if line["event"] == "deciding"} == {TRACE_ID}
    anonymous = {line["event"] for line in lines if "request" not in line}
    assert anonymous.isdisjoint({"deciding", "stage_failed", "retry_later", "dead_letter"})
