"""Bisection on planted faults: in each failure area the right part is named, among others that
differ as well and are not to blame."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.replays import SUPPORT, World, running_world

from interlock_contracts.failures import FailureArea

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One system for the module."""
    made = tmp_path_factory.mktemp
    async with running_world(made("state"), made("files")) as running:
        yield running


Swap = tuple[str, str, str]
"""A file of the bundle, words in it, and what stands there instead."""

HARMLESS: dict[str, Swap] = {
    "routing": ("bundle.yaml", "      - Tell me a joke\n", ""),
    "retrieval": ("bundle.yaml", "  candidates: 20", "  candidates: 19"),
    "prompts": ("prompts/answer.jinja", "\n", "\n\n"),
    "models": ("bundle.yaml", "extractive-1", "extractive-2"),
    "tools": ("tools.py", "The e-mail address it goes to.", "To which e-mail address it goes."),
    "policies": ("policies/orders.cedar", '"cancel-before-shipping"', '"cancel-in-time"'),
    "outputs": ("bundle.yaml", "max_chars: 1500", "max_chars: 1400"),
    "replies": ("bundle.yaml", "Something went wrong on our side", "It went wrong on our side"),
    "limits": ("bundle.yaml", "approval_ttl_s: 86400", "approval_ttl_s: 86000"),
}
"""A change of every part that makes no difference to any of the requests."""

PLANTED: dict[str, tuple[str, FailureArea, str, list[Swap]]] = {
    "documents": ("retrieval", FailureArea.RETRIEVAL, "question", [
        ("bundle.yaml", "knowledge/{tenant}/public_help", "knowledge/{tenant}/customer_notes")]),
    "ranking": ("retrieval", FailureArea.RETRIEVAL, "question", [
        ("bundle.yaml", "  candidates: 20", "  candidates: 20\n  min_score: 0.999")]),
    "threshold": ("routing", FailureArea.ROUTING, "question", [
        ("bundle.yaml", "threshold: 0.25", "threshold: 0.999")]),
    "rule": ("routing", FailureArea.ROUTING, "refund", [
        ("bundle.yaml", "router:\n",
         "router:\n  before: [{id: money, intent: out_of_scope, pattern: '\\brefund\\b'}]\n")]),
    "contract": ("tools", FailureArea.TOOL_CALL, "refund", [
        ("tools.py", "le=1_000_000", "le=1_000")]),
    "roles": ("tools", FailureArea.TOOL_CALL, "refund", [
        ("tools.py", 'risk="high",\n    recovery="idempotent",\n    roles=["customer", "agent"]',
         'risk="high",\n    recovery="idempotent",\n    roles=["agent"]')]),
    "forbidden": ("outputs", FailureArea.OUTPUT_CONTRACT, "question", [
        ("bundle.yaml", "forbidden: ['\\bguarantee", "forbidden: ['(?i)\\bdays\\b', '\\bguarantee"),
        ("bundle.yaml", "fallback: extractive", "fallback: refuse")]),
    "policy": ("policies", FailureArea.SAFETY_POLICY, "refund", [
        ("policies/refunds.cedar", "<= 10000 };", "<= 100 };"),
        ("policies/refunds.cedar", "> 10000 };", "> 1000000 };")]),
    "deadline": ("limits", FailureArea.RUNTIME, "question", [
        ("bundle.yaml", "deadline_ms: 30000", "deadline_ms: 1")]),
}  # fmt: skip
"""By name: the part to blame, the failure area, the request, the fault."""


def swapped(folder: Path, swaps: list[Swap]) -> None:
    """Change the files of a bundle; every change must be one."""
    for file, before, after in swaps:
        path = folder / file
        text = path.read_text(encoding="utf-8")
        assert before in text, (file, before)
        path.write_text(text.replace(before, after), encoding="utf-8")


@pytest.mark.parametrize("name", PLANTED)
async def test_the_part_with_the_fault_is_named_among_all_that_differ(
    world: World, name: str
) -> None:
    part, area, request, fault = PLANTED[name]
    bad = world.copy(f"bad-{name}")
    swapped(Path(bad), [*fault, *(swap for other, swap in HARMLESS.items() if other != part)])
    before = await world.state_of_the_world()
    status, (found,) = await world.found(
        "replay", "bisect", "--good", str(SUPPORT), "--bad", bad, world.requests[request]
    )
    assert found["verdict"] == "found", found
    assert [one["part"] for one in found["blamed"]] == [part], found
    assert (found["area"], status) == (area.value, 0), found
    assert await world.state_of_the_world() == before


async def test_what_makes_no_difference_is_not_blamed(world: World) -> None:
    bad = world.copy("harmless")
    swapped(Path(bad), list(HARMLESS.values()))
    sides = "--good", str(SUPPORT), "--bad", bad
    status, found = await world.found("replay", "bisect", *sides, *world.requests.values())
    assert {one["verdict"] for one in found} == {"no_difference"}
    assert status == 0


BROKEN_STAGE = """
async def decide(given, using):
    raise RuntimeError("a planted fault")
"""


async def test_a_stage_with_a_fault_is_named_among_parts_that_differ(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = world.folder / "stages"
    code.mkdir()
    (code / "planted.py").write_text(BROKEN_STAGE, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(code), prepend=":")
    bad = world.copy("with-stage")
    swapped(Path(bad), list(HARMLESS.values()))
    status, (found,) = await world.found(
        "replay", "bisect", "--good", str(SUPPORT), "--bad", bad,
        "--with", "stage.retriever=planted:decide", world.requests["question"],
    )  # fmt: skip
    assert [one["part"] for one in found["blamed"]] == ["stage.retriever"], found
    assert (found["stage"], found["area"], status) == ("retriever", "runtime", 0)
