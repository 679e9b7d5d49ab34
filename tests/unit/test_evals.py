"""What a case of a gold set asks for, and what is said when it does not come."""

from pathlib import Path
from typing import Any

import pytest
from tests.contracts.goldens import golden_event
from tests.support.system import rows

from interlock.bundles.compile import compile_bundle
from interlock.cli.evaluations import LiveStages
from interlock.evals.gold import GoldCase, read_gold
from interlock.evals.run import Seen, problems, run_case
from interlock.runtime.errors import UserError
from interlock.runtime.settings import Settings

EXAMPLE = Path("examples/support")
GOLD = read_gold(EXAMPLE / "gold.jsonl")


def a_case(**changes: Any) -> GoldCase:
    given: dict[str, Any] = {
        "id": "one", "tenant": "acme", "user": "maria", "role": "customer", "text": "hello",
        "outcome": "answered",
    }  # fmt: skip
    return GoldCase(**(given | changes))


def test_what_is_wanted_and_came_is_no_problem() -> None:
    seen = Seen([golden_event(name) for name in ("request", "route", "proposal", "answer")])
    route, proposal = golden_event("route").case.route, golden_event("proposal").case.proposal
    assert route is not None and proposal is not None and seen.answer is not None
    calls = [{"tool": one.tool, "arguments": one.arguments} for one in proposal.calls]
    good = a_case(
        intent=route.intent,
        calls=tuple(calls),
        contains=seen.answer.text[:10],
        documents=tuple(source.document_id for source in seen.answer.sources),
    )
    assert problems(good, seen) == []
    for change, said in (
        ({"outcome": "refused"}, "answered, not refused"),
        ({"intent": "another"}, "not another"),
        ({"contains": "never said"}, '"never said" is not in'),
        ({"documents": ("acme/x/y",)}, "not acme/x/y"),
        ({"failure": "policy_forbids"}, "policy_forbids is not among"),
        ({"calls": ({"tool": "fly", "arguments": {}},)}, "fly({}) was not proposed"),
    ):
        (found,) = problems(a_case(**(good.model_dump() | change)), seen)
        assert said in found


@pytest.mark.parametrize(
    ("event", "ending"),
    [("approved", "approved"), ("confirm", "confirm"), ("review", "review"), ("route", "failed")],
)
def test_how_a_request_ends_without_an_answer(event: str, ending: str) -> None:
    assert Seen([golden_event("request"), golden_event(event)]).ending == ending


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", "empty"),
        ("{", r"gold.jsonl:1: the line"),
        ('{"id": "a"}', r"gold.jsonl:1: tenant"),
        (GOLD[0].model_dump_json().replace("answered", "maybe"), "outcome"),
        ("\n".join([GOLD[0].model_dump_json()] * 2), f"twice: {GOLD[0].id}"),
    ],
)
def test_a_gold_set_that_is_none(tmp_path: Path, lines: str, said: str) -> None:
    file = tmp_path / "gold.jsonl"
    file.write_text(lines)
    with pytest.raises(UserError, match=said):
        read_gold(file)


async def test_cases_run_through_the_stages_and_no_write_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_DATABASE", str(tmp_path / "shop.sqlite"))
    settings = Settings(state=tmp_path, bundle=EXAMPLE)
    bundle = compile_bundle(EXAMPLE)
    stages = await LiveStages.open(settings, tmp_path / "index")
    before = rows(tmp_path / "shop.sqlite", "SELECT * FROM refunds")
    by_ending = {case.outcome: case for case in reversed(GOLD)}
    assert set(by_ending) == {"answered", "approved", "confirm", "review", "refused"}
    for case in (*by_ending.values(), *(one for one in GOLD if one.intent == "order_status")):
        seen = await run_case(case, bundle, stages)
        assert problems(case, seen) == [], case.id
        wrong = case.model_copy(update={"outcome": "failed", "contains": "xyzzy"})
        assert len(problems(wrong, seen)) == 2
    assert rows(tmp_path / "shop.sqlite", "SELECT * FROM refunds") == before
