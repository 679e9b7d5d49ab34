"""The grounding score: what stands in the sources scores above what was made up."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gate_world import BUNDLE, ROUTE, World, make_case, proposal, says

from interlock.bundles.model import Bundle
from interlock.contract_validator.checks.grounding import FEATURES, WEIGHTS, Sources, support
from interlock.contract_validator.gate import Gate
from interlock_contracts.failures import FailureCode

SOURCE = (
    "Refunds take five working days once the parcel has reached our warehouse in Bern. Gift cards"
    " are never paid out in cash. Returns are free of charge within thirty days."
)
SOURCES = Sources([SOURCE], "How long does a refund take?")
GOOD = "Refunds take five working days once the parcel has reached our warehouse."
BAD = (
    "Premium customers in Lisbon get 250 bonus points and a personal courier collects defective"
    " furniture overnight through our insurance partner Helvetia."
)


def test_every_feature_has_its_weight() -> None:
    assert len(WEIGHTS) == len(FEATURES)


def test_supported_above_unsupported() -> None:
    first, second = support(f"{GOOD} {BAD}", SOURCES)
    assert first.score > 0.8 > 0.3 > second.score
    assert f"{GOOD} {BAD}"[second.start : second.end] == BAD


@given(st.text(max_size=300))
def test_any_text_has_scores_in_range_and_spans_in_order(text: str) -> None:
    found = support(text, SOURCES)
    assert all(0 <= one.score <= 1 and one.start < one.end <= len(text) for one in found)
    assert all(a.end <= b.start for a, b in pairwise(found))


@pytest.mark.parametrize(
    ("least", "text", "codes"),
    [
        (0.5, GOOD, []),
        (0.5, BAD, [FailureCode.STATEMENT_UNSUPPORTED]),
        (None, BAD, []),
        (0.5, "Do premium customers in Lisbon get a courier from Helvetia?", []),
    ],
)
async def test_the_contract_sets_the_threshold(
    least: float | None, text: str, codes: list[FailureCode]
) -> None:
    contract = BUNDLE.outputs["default"].model_copy(update={"min_support": least})
    outputs = {"default": contract.model_dump()}
    gate = Gate(Bundle.model_validate(BUNDLE.model_dump() | {"outputs": outputs}))
    source = make_case(proposal()).context
    assert source is not None
    chunk = source.chunks[0].model_copy(update={"text": SOURCE})
    wanted = proposal(statements=[says(text, ("c1", "Refunds take five working days"))])
    case = make_case(wanted, text="How long does a refund take?", chunks=[chunk])
    verdict = await gate.judge(case, ROUTE, wanted, World().facts)
    assert [one.code for one in verdict.violations] == codes


def test_a_bundle_without_a_threshold_keeps_its_digest() -> None:
    assert "min_support" not in BUNDLE.outputs["default"].model_dump()
