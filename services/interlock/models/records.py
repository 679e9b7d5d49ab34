"""The record of one generation: what was asked of which model and what came back."""

from interlock.bundles.model import Bundle
from interlock.bundles.routes import Task
from interlock.models.choice import cost_micros, price_of
from interlock.models.parse import clean_output
from interlock.models.port import ModelResponse
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.proposal import ModelRecord, Packing


def record_of(
    bundle: Bundle,
    route: str,
    task: Task,
    prompt: str,
    packing: Packing | None,
    response: ModelResponse,
) -> ModelRecord:
    """What an event keeps of a model's answer: enough for a replay to hear it again."""
    read, written = response.input_tokens, response.output_tokens
    price = price_of(bundle, response.provider, response.model)
    cost = None
    if price is not None and read is not None:
        cost = cost_micros(price, read, written or 0)
    return ModelRecord(
        route=route,
        provider=response.provider,
        model=response.model,
        prompt=digest_bytes(prompt.encode()),
        output=clean_output(response.output),
        stop_reason=response.stop_reason,
        input_tokens=read,
        output_tokens=written,
        passed_over=response.passed_over,
        task=task,
        cost_micros=cost,
        elapsed_ms=response.elapsed_ms,
        packing=packing,
        recording=response.recording,
    )


def said_again(record: ModelRecord, output: str) -> ModelResponse:
    """The answer that a record was made of; `output` is its text, which may have been longer."""
    return ModelResponse(
        output,
        record.provider,
        record.model,
        record.stop_reason,
        record.input_tokens,
        record.output_tokens,
        record.passed_over,
        elapsed_ms=record.elapsed_ms,
        recording=record.recording,
    )
