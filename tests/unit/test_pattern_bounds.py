"""Regular expressions of a bundle are cut off, and what was not looked through does not pass."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from tests.unit.gate_world import BUNDLE, ROUTE, World, changed_bundle, make_case, proposal, says

from interlock.bundles import patterns
from interlock.bundles.model import OutputContract
from interlock.contract_validator.answers import extracted
from interlock.contract_validator.checks.arguments import check_arguments, compile_schemas
from interlock.contract_validator.checks.output import check_output, compile_forbidden
from interlock.contract_validator.gate import Gate
from interlock.models.extractive.evidence import support
from interlock.models.extractive.slots import _pattern
from interlock_contracts.failures import FailureCode as Code
from interlock_contracts.tools import ToolSpec
from interlock_contracts.verdict import Decision

SLOW = r"(?:x|xx)+y"
"""Takes exponential time on a row of x that no y ends."""

HOSTILE = "x" * 60 + "z y"
MOST_S = 3.0
"""What a bounded search may cost here; unbounded it is hours."""


def within_bounds(act: Callable[[], Any]) -> Any:
    before = time.process_time()
    found = act()
    assert time.process_time() - before < MOST_S
    return found


@pytest.mark.parametrize(
    ("text", "code"),
    [("Refunds take five days.", None), ("xxxxy", Code.FORBIDDEN_CONTENT)],
)
def test_a_slow_pattern_is_looked_for_as_any_other(text: str, code: Code | None) -> None:
    contract = OutputContract(forbidden=(SLOW,))
    found = check_output(proposal(statements=[says(text)]), contract, compile_forbidden(contract))
    assert [one.code for one in found] == ([code] if code else [])


def test_an_answer_that_cannot_be_looked_through_in_time_does_not_pass() -> None:
    contract = OutputContract(forbidden=("never", SLOW))
    wanted = proposal(statements=[says(HOSTILE), *(says(HOSTILE + str(n)) for n in range(50))])
    found = within_bounds(lambda: check_output(wanted, contract, compile_forbidden(contract)))
    assert [(one.code, one.path) for one in found] == [(Code.PATTERN_TIMEOUT, "/statements/0/text")]
    assert "forbidden pattern 2" in found[0].message
    assert HOSTILE not in found[0].message


async def test_the_gate_does_not_answer_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = OutputContract(citations="none", forbidden=(SLOW,))
    gate = Gate(changed_bundle(outputs={"default": slow}))
    for text, decision in ((HOSTILE, Decision.REPAIR), ("All is well.", Decision.ANSWER)):
        case = make_case(proposal(statements=[says(text)]))
        assert case.proposal is not None
        verdict = await gate.judge(case, ROUTE, case.proposal, World().facts)
        assert verdict.decision is decision


def test_the_fallback_gives_up_rather_than_quote_unchecked() -> None:
    case = make_case(proposal(), text=f"What is {HOSTILE}?")
    assert case.context is not None
    chunk = case.context.chunks[0].model_copy(update={"text": f"So it is: {HOSTILE}. " * 30})
    context = case.context.model_copy(update={"chunks": (chunk,)})
    case = case.model_copy(update={"context": context})
    for source, quoted in ((SLOW, False), ("never", True)):
        contract = OutputContract(forbidden=(source,), fallback="extractive")
        forbidden = compile_forbidden(contract)
        made = within_bounds(partial(extracted, case, contract, forbidden, ()))
        assert (made is not None) is quoted


def test_the_extractive_model_says_nothing_that_it_cannot_look_through() -> None:
    forbidden = patterns.pattern(SLOW)
    chunk = make_case(proposal()).context
    assert chunk is not None
    slow = chunk.chunks[0].model_copy(update={"text": f"A refund takes {HOSTILE} days."})
    with pytest.raises(patterns.PatternTimeout):
        support("How long does a refund take?", "", [slow], lambda t: bool(forbidden.search(t)))


def test_a_slots_pattern_is_bounded() -> None:
    assert _pattern({"pattern": "^[A-Z]-[0-9]{4}$"}, "order a-1001 please") == ["A-1001"]
    found = within_bounds(lambda: _pattern({"pattern": f"^{SLOW}$"}, HOSTILE))
    assert found == []


@pytest.mark.parametrize("source", [r"^(x+x+)+\1y$", r"^((?=x)x+x+)+y$"])
def test_an_arguments_pattern_is_bounded_by_the_schema_library(source: str) -> None:
    spec = BUNDLE.tools["get_order"]
    schema = {
        **spec.parameters,
        "properties": {"order_id": {"type": "string", "pattern": source}},
    }
    tool = ToolSpec.model_validate({**spec.model_dump(), "parameters": schema})
    schemas = compile_schemas(changed_bundle(tools={"get_order": tool}))

    def codes(text: str) -> list[Code]:
        return [c.code for c in check_arguments(0, "get_order", {"order_id": text}, schemas)]

    assert within_bounds(lambda: codes("x" * 5_000)) == [Code.ARGUMENTS_INVALID]
    assert codes("xxxxy") == []
