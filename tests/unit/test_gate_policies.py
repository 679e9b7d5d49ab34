"""Policies: what is found wrong at build, and what they decide at run time."""

from typing import Any

import pytest
from pydantic import BaseModel
from tests.unit.gate_world import BUNDLE, POLICIES, make_case, proposal

from interlock.bundles.cedar import cedar_schema, cedar_value
from interlock.bundles.model import Bundle
from interlock.bundles.policies import check_policies
from interlock.contract_validator.policy import Policies
from interlock_contracts.request import Principal
from interlock_contracts.tools import ToolArguments, fact, tool, tool_spec
from interlock_contracts.verdict import PolicyDecision

REQUEST = make_case(proposal()).request
PERMIT = 'permit(principal, action == Interlock::Action::"create_refund", resource)'


def with_policies(*texts: str) -> Bundle:
    named = {f"p{index}.cedar": text for index, text in enumerate(texts)}
    return BUNDLE.model_copy(update={"policies": named})


def judge(
    bundle: Bundle, amount: Any, facts: dict[str, Any] | None = None, role: str = "customer"
) -> PolicyDecision:
    return Policies(bundle).judge(
        Principal(user="ann", role=role, scopes=("a",)),
        bundle.tools["create_refund"],
        {"order_id": "A-1001", "amount_cents": amount},
        {"order": {"customer": "ann", "paid_cents": 30_000}} if facts is None else facts,
        REQUEST,
        "refund",
    )


def test_good_policies_have_no_problems() -> None:
    assert check_policies(BUNDLE) == []


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ('@id("a") permt(principal, action, resource);', "p0.cedar:1", "permt"),
        (f"// why; a comment\n\n{PERMIT};", "p0.cedar:3", "@id"),
        (f'@id("a")\n@obligation("ask")\n{PERMIT};', "p0.cedar:1", "ask"),
        (f'@id("a")\n@oblgation("confirm")\n{PERMIT};', "p0.cedar:1", "@oblgation"),
        (
            f'@id("a")\n{PERMIT}\nwhen {{\n  context.arguments.amunt > 3 }};',
            "p0.cedar:4",
            "amunt",
        ),
        (
            f'@id("a")\n{PERMIT}\nwhen {{ context.facts.order.nothing > 3 }};',
            "p0.cedar:3",
            "nothing",
        ),
        (f'@id("a")\n{PERMIT}\nwhen {{ principal.name == "x" }};', "p0.cedar:3", "name"),
        (f'@id("a")\n{PERMIT.replace("_refund", "_refnd")};', "p0.cedar:2", "create_refnd"),
        (
            f'@id("a")\n{PERMIT}\nwhen {{ context.arguments.amount_cents == "5" }};',
            "p0.cedar:1",
            "the types Long and String are not compatible",
        ),
        (f'@id("a") {PERMIT};\n@id("a") {PERMIT};', "p0.cedar:2", "p0.cedar:1"),
        (
            '@id("a") permit(principal == ?principal, action, resource);',
            "p0.cedar:1",
            "template",
        ),
        (
            '@id("a") @obligation("confirm") forbid(principal, action, resource);',
            "p0.cedar:1",
            "permit",
        ),
    ],
)
def test_a_bad_policy_is_named_by_file_and_line(text: str, place: str, says: str) -> None:
    found = check_policies(with_policies(text))
    at_place = [problem for problem in found if problem.startswith(f"policies/{place}: ")]
    assert any(says in problem for problem in at_place), found


def test_every_problem_of_every_file_is_found() -> None:
    found = check_policies(with_policies(f"{PERMIT};", f'@id("x") {PERMIT};', "nonsense"))
    assert [problem.split(": ")[0] for problem in found] == [
        "policies/p0.cedar:1",
        "policies/p2.cedar:1",
    ]


def test_a_bundle_that_does_not_compile_judges_nothing() -> None:
    with pytest.raises(ValueError, match="@id"):
        Policies(with_policies(f"{PERMIT};"))


@pytest.mark.parametrize(
    ("amount", "allowed", "policies", "obligations"),
    [
        (5_000, True, ("refund-small",), ()),
        (5_001, True, ("refund-middle",), ("confirm",)),
        (20_000, True, ("refund-large",), ("review:refunds",)),
        (20_001, True, ("refund-huge",), ("confirm", "two_person")),
        (30_001, False, ("refund-paid-only",), ()),
    ],
)
def test_decision_names_policies_and_obligations(
    amount: int, allowed: bool, policies: tuple[str, ...], obligations: tuple[str, ...]
) -> None:
    assert judge(BUNDLE, amount) == PolicyDecision(
        allowed=allowed, policies=policies, obligations=obligations
    )


def test_without_a_permit_it_is_denied() -> None:
    assert judge(with_policies(), 1) == PolicyDecision(allowed=False)


@pytest.mark.parametrize("facts", [{}, {"order": None}, {"order": {"paid_cents": 9}}])
def test_a_missing_fact_denies_with_an_error(facts: dict[str, Any]) -> None:
    decision = judge(BUNDLE, 1, facts)
    assert (decision.allowed, bool(decision.errors)) == (False, True)


@pytest.mark.parametrize("amount", ["1", 1.5, 2**63, True])
def test_a_value_of_another_type_denies_with_an_error(amount: Any) -> None:
    decision = judge(BUNDLE, amount)
    assert (decision.allowed, bool(decision.errors)) == (False, True)


def test_an_error_in_one_policy_denies_though_another_permits() -> None:
    overflow = (
        f'@id("o") {PERMIT} when {{ context.arguments.amount_cents * 9223372036854775807 > 1 }};'
    )
    assert judge(with_policies(f'@id("a") {PERMIT};'), 3).allowed
    decision = judge(with_policies(f'@id("a") {PERMIT};', overflow), 3)
    assert (decision.allowed, bool(decision.errors)) == (False, True)


def test_obligations_of_all_permits_that_hold_count() -> None:
    two = f'@id("a") {PERMIT};\n@id("b") @obligation("confirm") {PERMIT};'
    assert judge(with_policies(two), 1).obligations == ("confirm",)


def test_defaults_of_the_contract_are_there_for_policies() -> None:
    text = f'@id("a") {PERMIT} when {{ context.arguments.currency == "EUR" }};'
    assert check_policies(with_policies(text)) == []
    assert judge(with_policies(text), 1).allowed


class Part(BaseModel):
    sku: str


class Thing(BaseModel):
    price: float
    tags: list[str]
    part: Part | None
    anything: dict[str, int]
    either: int | str


@tool(effect="read", returns=Thing)
class GetThing(ToolArguments):
    """A fact of many shapes."""

    thing_id: str


@tool(effect="read")
class GetBlob(ToolArguments):
    """A fact nobody declares."""

    thing_id: str


@tool(
    effect="write",
    facts=[
        fact("thing", get="get_thing", thing_id="thing_id"),
        fact("blob", get="get_blob", thing_id="thing_id"),
    ],
)
class UseThing(ToolArguments):
    """Uses both."""

    thing_id: str
    share: float | None = None


THINGS = Bundle(
    name="things",
    version="1",
    tools={
        spec.name: spec for spec in (tool_spec(GetThing), tool_spec(GetBlob), tool_spec(UseThing))
    },
)


def thing_type() -> dict[str, Any]:
    action = cedar_schema(THINGS)["Interlock"]["actions"]["use_thing"]
    attributes: dict[str, Any] = action["appliesTo"]["context"]["attributes"]
    return attributes


def test_the_schema_has_what_cedar_can_type_and_no_more() -> None:
    facts = thing_type()["facts"]["attributes"]
    assert set(facts) == {"thing"}
    assert facts["thing"]["attributes"] == {
        "price": {"type": "Extension", "name": "decimal"},
        "tags": {"type": "Set", "element": {"type": "String"}},
        "part": {
            "type": "Record",
            "attributes": {"sku": {"type": "String"}},
            "required": False,
        },
    }
    assert thing_type()["arguments"]["attributes"]["share"]["required"] is False


@pytest.mark.parametrize(("number", "text"), [(1.5, "1.5000"), (2, "2.0000"), (-0.0001, "-0.0001")])
def test_numbers_become_decimals(number: float, text: str) -> None:
    kind = thing_type()["arguments"]["attributes"]["share"]
    assert cedar_value(number, kind) == {"__extn": {"fn": "decimal", "arg": text}}


@pytest.mark.parametrize("number", [0.00001, 1e30, "1.5", True])
def test_what_a_decimal_cannot_hold_is_refused(number: Any) -> None:
    with pytest.raises(ValueError, match=r"decimal|needed"):
        cedar_value(number, thing_type()["arguments"]["attributes"]["share"])


@pytest.mark.parametrize(
    "condition",
    [
        'context.request.intent == "refund"',
        'context["re\\u{71}uest"]["channel"] == "api"',
        "context has request && context has history",
        '{r: context.request}.r.intent == "refund"',
        '{c: context}.c.request.intent == "refund"',
        "!context.history.repeated && context.history.done.isEmpty()",
        "[context].contains(context) && context has history.done",
    ],
)
def test_whatever_way_a_policy_reads_its_context_it_is_there(condition: str) -> None:
    found = judge(with_policies(f'@id("a") {PERMIT} when {{ {condition} }};'), 5_000)
    assert found == PolicyDecision(allowed=True, policies=("a",))


def test_where_no_policy_reads_the_request_and_its_history_neither_is_made() -> None:
    whole, nothing = (
        Policies(with_policies(f'@id("a") {PERMIT} when {{ {condition} }};'))._contexts
        for condition in ("context == context", "true")
    )
    assert set(whole["create_refund"]["attributes"]) == {"arguments", "facts", "request", "history"}
    assert set(nothing["create_refund"]["attributes"]) == {"arguments", "facts"}


def test_comments_and_strings_with_semicolons_do_not_split_a_policy() -> None:
    text = f'// a; b\n@id("a;b")\n{PERMIT} // c;\nwhen {{ principal.role == "x;y" }};\n// end;'
    assert check_policies(with_policies(text, POLICIES)) == []
