"""What an operator may change, who a canary takes, where a rollback goes, what a diff says."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.bundles.compile import compile_bundle
from interlock.bundles.difference import differences, reachable
from interlock.bundles.model import Bundle
from interlock.runtime.bundles.changes import (
    Activate,
    Change,
    Promote,
    Rollback,
    Shadow,
    StartCanary,
)
from interlock.runtime.bundles.pointer import Entry, before
from interlock.runtime.errors import UserError
from interlock_contracts.activation import Activation, Canary, How
from interlock_contracts.canonical import canonical_json

EXAMPLE = compile_bundle(Path("examples/support"))
A, B, C, D = (f"sha256:{letter * 64}" for letter in "abcd")


def after(*changes: Change) -> Activation:
    """The activation that these changes lead to."""
    now: Activation | None = None
    for change in changes:
        now = change.over(now)
    assert now is not None
    return now


def test_activations_are_numbered_and_say_what_was_before() -> None:
    now = after(Activate(A), Activate(B))
    assert (now.number, now.bundle, now.previous, now.how) == (2, B, A, "activate")


def test_a_canary_leaves_the_others_and_ends_with_promotion_rollback_or_activation() -> None:
    canary = after(Activate(A), StartCanary(B, share=0.1))
    assert (canary.bundle, canary.canary) == (A, Canary(bundle=B, share=0.1))
    assert set(canary.bundles) == {A, B}
    for change, bundle in ((Promote(), B), (Rollback(A), A), (Activate(A), A), (Activate(C), C)):
        ended = change.over(canary)
        assert (ended.bundle, ended.canary) == (bundle, None)


def test_a_shadow_stays_until_it_is_stopped_or_active() -> None:
    now = after(Activate(A), Shadow(B), StartCanary(C, tenants=("acme",)))
    assert (now.shadow, now.canary) == (B, Canary(bundle=C, tenants=("acme",)))
    assert Shadow(None).over(now).canary == now.canary
    assert Activate(B).over(now).shadow is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ((Activate(A), Activate(A)), "active already"),
        ((Activate(A), Rollback(A)), "active already"),
        ((Rollback(A),), "first step"),
        ((Promote(),), "first step"),
        ((Activate(A), Promote()), "no canary runs"),
        ((Activate(A), StartCanary(A, share=0.5)), "already"),
        ((Activate(A), StartCanary(B)), "for whom"),
        ((Activate(A), StartCanary(B, share=0.5), StartCanary(B, share=0.5)), "runs already"),
        ((Activate(A), Shadow(A)), "the real ones"),
        ((Activate(A), Shadow(None)), "already"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: tuple[Change, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        after(*changes)


def history(*steps: tuple[How, str]) -> list[Entry]:
    return [
        Entry(
            Activation(
                number=number, how=how, bundle=bundle, name="n", version="1", by="jo", reason="r"
            ),
            datetime.now(UTC),
        )
        for number, (how, bundle) in enumerate(steps, 1)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("steps", "goes_to"),
    [
        ((), None),
        ((("up", A),), None),
        ((("up", A), ("activate", B)), A),
        ((("up", A), ("activate", B), ("activate", C), ("rollback", B)), A),
        ((("up", A), ("activate", B), ("rollback", A)), None),
        ((("up", A), ("activate", B), ("activate", C), ("rollback", A), ("activate", D)), A),
        ((("up", A), ("activate", B), ("rollback", A), ("rollback", B)), A),
        ((("up", A), ("shadow", A), ("canary", A), ("promote", B)), A),
    ],
)
def test_rollbacks_go_back_and_not_to_and_fro(
    steps: tuple[tuple[How, str], ...], goes_to: str | None
) -> None:
    assert before(history(*steps)) == goes_to


@given(st.lists(st.uuids(), min_size=1), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_keeps_the_requests_of_a_smaller_one(
    ids: list[Any], one: float, other: float
) -> None:
    less, more = sorted((one, other))
    small, large = Canary(bundle=A, share=less), Canary(bundle=A, share=more)
    for request_id in map(str, ids):
        assert large.takes("acme", request_id) or not small.takes("acme", request_id)


def test_a_share_is_about_that_share_and_all_or_nothing_at_its_ends() -> None:
    ids = [f"request-{number}" for number in range(4_000)]
    for share in (0.0, 0.05, 0.5, 1.0):
        canary = Canary(bundle=A, share=share)
        taken = sum(canary.takes("acme", one) for one in ids) / len(ids)
        assert taken == pytest.approx(share, abs=0.025 if 0 < share < 1 else 0)
    assert Canary(bundle=A, tenants=("acme",)).takes("acme", "any")
    assert not Canary(bundle=A, tenants=("acme",)).takes("globex", "any")


def changed(**changes: Any) -> Bundle:
    data = EXAMPLE.model_copy(update=changes)
    return Bundle.model_validate_json(canonical_json(data))


def told(other: Bundle) -> list[str]:
    return [one.text for one in differences(EXAMPLE, other)]


def test_the_same_bundle_has_no_differences() -> None:
    assert told(changed()) == []


def test_a_diff_says_first_who_can_newly_reach_what() -> None:
    intents, tools = dict(EXAMPLE.intents), dict(EXAMPLE.tools)
    intents["answer_question"] = intents["answer_question"].model_copy(
        update={"tools": ("create_refund",), "roles": ("agent", "customer")}
    )
    tools["cancel_order"] = tools["cancel_order"].model_copy(update={"roles": ("agent",)})
    said = told(changed(intents=intents, tools=tools))
    reach = [one for one in said if "reach" in one]
    assert any("can now reach create_refund from answer_question" in one for one in reach)
    assert any("can no longer reach cancel_order from" in one for one in reach)
    assert said[: len(reach)] == reach
    assert "intent answer_question: tools: create_refund added" in said


def test_a_refused_intent_reaches_nothing_and_roles_are_those_of_both() -> None:
    ways = reachable(EXAMPLE)
    assert all(EXAMPLE.intents[intent].refusal is None for _, intent in ways)
    for (tool, intent), roles in ways.items():
        for asked in (EXAMPLE.intents[intent].roles, EXAMPLE.tools[tool].roles):
            assert not asked or roles <= set(asked)


def test_a_diff_speaks_of_thresholds_texts_models_and_what_came_or_went() -> None:
    router = EXAMPLE.router.model_copy(update={"threshold": 0.9})
    policies = {name: f"{text}// more" for name, text in EXAMPLE.policies.items()}
    intents = {name: one for name, one in EXAMPLE.intents.items() if name != "cancel_order"}
    route = next(iter(EXAMPLE.models.values()))
    candidate = route.candidates[0].model_copy(update={"model": "other-model"})
    models = {**EXAMPLE.models, "new": route.model_copy(update={"candidates": (candidate,)})}
    found = differences(
        EXAMPLE, changed(router=router, policies=policies, intents=intents, models=models)
    )
    said = [one.text for one in found]
    assert f"router threshold {EXAMPLE.router.threshold} → 0.9" in said
    assert "intent cancel_order is gone" in said
    assert "model route new is new" in said
    policy = next(one for one in found if one.part == "policies")
    assert "1 line added, 0 lines removed" in policy.text
    assert "+// more" in policy.lines


def test_every_field_that_differs_is_told() -> None:
    for name, field in Bundle.model_fields.items():
        if name in ("format", "gates"):
            continue
        value = getattr(EXAMPLE, name)
        other: Any = "other" if isinstance(value, str) else {} if isinstance(value, dict) else None
        if other is None or other == value:
            continue
        assert differences(EXAMPLE, changed(**{name: other})), field
