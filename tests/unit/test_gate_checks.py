"""Each check for itself: what it must accept beside what it must refuse."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gate_world import (
    BUNDLE,
    CHUNKS,
    HELP,
    ROUTE,
    TOOLS,
    chunk,
    make_case,
    proposal,
    refund,
    says,
)

from interlock.bundles.model import OutputContract
from interlock.contract_validator.checks.allowlist import check_tool
from interlock.contract_validator.checks.arguments import check_arguments, compile_schemas
from interlock.contract_validator.checks.citations import (
    check_access,
    check_citations,
    cited_texts,
    is_question,
)
from interlock.contract_validator.checks.matching import Needle, Text
from interlock.contract_validator.checks.output import check_form, check_output, compile_forbidden
from interlock.contract_validator.checks.provenance import check_origins, trace
from interlock.contract_validator.checks.sources import Sources
from interlock_contracts.actions import Effect, Result
from interlock_contracts.case import Step
from interlock_contracts.failures import FailureCode as Code
from interlock_contracts.proposal import Statement, ToolCall
from interlock_contracts.request import Principal, Turn
from interlock_contracts.verdict import (
    ActionVerdict,
    Decision,
    Fact,
    Origin,
    Verdict,
    Violation,
)

SCHEMAS = compile_schemas(BUNDLE)
REFUND = TOOLS["create_refund"]


def codes(violations: list[Violation]) -> list[tuple[str, str]]:
    return [(one.code.value, one.path) for one in violations]


# allowlist


@pytest.mark.parametrize(
    ("tool", "role", "scopes", "found"),
    [
        ("create_refund", "customer", (), []),
        ("close_shop", "customer", ("ops", "x"), []),
        ("no_such_tool", "customer", (), [Code.TOOL_UNKNOWN]),
        ("create_refund", "guest", (), [Code.TOOL_NOT_ALLOWED]),
        ("close_shop", "customer", ("x",), [Code.TOOL_NOT_ALLOWED]),
    ],
)
def test_allowlist(tool: str, role: str, scopes: tuple[str, ...], found: list[Code]) -> None:
    principal = Principal(user="ann", role=role, scopes=scopes)
    call = ToolCall(tool=tool, arguments={})
    violations = check_tool(2, call, TOOLS, ROUTE, principal)
    assert codes(violations) == [(code.value, "/calls/2/tool") for code in found]


def test_a_tool_of_the_bundle_is_not_yet_one_of_the_intent() -> None:
    route = ROUTE.model_copy(update={"tools": ("get_order",)})
    principal = Principal(user="ann", role="guest")
    found = check_tool(0, refund(), TOOLS, route, principal)
    assert [one.code for one in found] == [Code.TOOL_NOT_ALLOWED] * 2
    assert "intent 'refund'" in found[0].message
    assert "role 'guest'" in found[1].message


# arguments


def bad_arguments(arguments: dict[str, Any]) -> list[tuple[str, str]]:
    found = check_arguments(0, "create_refund", arguments, SCHEMAS)
    assert all(one.code is Code.ARGUMENTS_INVALID for one in found)
    return sorted((one.path.removeprefix("/calls/0/arguments"), one.message) for one in found)


GOOD = {"order_id": "A-1001", "amount_cents": 5}


@pytest.mark.parametrize(
    "arguments",
    [
        GOOD,
        {**GOOD, "currency": "USD", "reason": "x", "iban": None},
        {**GOOD, "lines": [{"sku": "s", "count": 2}]},
    ],
)
def test_good_arguments_pass(arguments: dict[str, Any]) -> None:
    assert bad_arguments(arguments) == []


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ({**GOOD, "amount_cents": "5"}, "/amount_cents"),
        ({**GOOD, "amount_cents": 5.5}, "/amount_cents"),
        ({**GOOD, "amount_cents": True}, "/amount_cents"),
        ({**GOOD, "amount_cents": 0}, "/amount_cents"),
        ({**GOOD, "order_id": "1001"}, "/order_id"),
        ({**GOOD, "order_id": "A-1001\n"}, "/order_id"),
        ({**GOOD, "currency": "GBP"}, "/currency"),
        ({**GOOD, "zzz": 1}, ""),
        ({**GOOD, "lines": [{"sku": "s", "count": 2, "zzz": 1}]}, "/lines/0"),
        ({**GOOD, "lines": [{"sku": "s", "count": "2"}]}, "/lines/0/count"),
        ({"order_id": "A-1001"}, ""),
    ],
)
def test_bad_arguments_are_named_by_pointer(arguments: dict[str, Any], path: str) -> None:
    assert [found for found, _ in bad_arguments(arguments)] == [path]


def test_all_errors_are_reported_and_no_value_is_shown() -> None:
    found = bad_arguments({"order_id": "hunter2", "amount_cents": "hunter2", "zzz": "hunter2"})
    assert [path for path, _ in found] == ["", "/amount_cents", "/order_id"]
    assert "hunter2" not in str(found)


@given(st.text(min_size=1).filter(lambda name: name not in REFUND.parameters["properties"]))
def test_unknown_arguments_never_pass(name: str) -> None:
    assert check_arguments(0, "create_refund", {**GOOD, name: 1}, SCHEMAS)
    line = {"sku": "s", "count": 1}
    if name not in line:
        assert check_arguments(0, "create_refund", {**GOOD, "lines": [{**line, name: 1}]}, SCHEMAS)


@pytest.mark.parametrize(("count", "fine"), [(255, True), (256, False)])
def test_the_number_of_values_is_bounded(count: int, fine: bool) -> None:
    arguments = {**GOOD, "lines": [{"sku": "s", "count": 1}] * count}
    assert (bad_arguments(arguments) == []) is fine
    assert len(trace(REFUND, arguments, (), Sources(make_case(proposal())))) == 512


# output


@pytest.mark.parametrize(
    ("wanted", "fine"),
    [
        (proposal(statements=[says("Hello.")]), True),
        (proposal(refund()), True),
        (proposal(abstained=True), True),
        (proposal(), False),
        (proposal(statements=[says(" \n")]), False),
        (proposal(malformed="no JSON"), False),
        (proposal(refund(), abstained=True), False),
    ],
)
def test_form(wanted: Any, fine: bool) -> None:
    assert [one.code for one in check_form(wanted)] == ([] if fine else [Code.OUTPUT_MALFORMED])


CONTRACT = OutputContract(max_chars=20, forbidden=("guarantee[ds]?", r"\bnever\b"))


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        (says("x" * 20), []),
        (says("Nevertheless."), []),
        (says("x" * 21), [(Code.LENGTH_EXCEEDED, "/statements")]),
        (says("GUARANTEED"), [(Code.FORBIDDEN_CONTENT, "/statements/0/text")]),
        (
            says("See.", ("c1", "never")),
            [(Code.FORBIDDEN_CONTENT, "/statements/0/citations/0/quote")],
        ),
    ],
)
def test_output(statement: Statement, found: list[tuple[Code, str]]) -> None:
    given = check_output(proposal(statements=[statement]), CONTRACT, compile_forbidden(CONTRACT))
    assert codes(given) == [(code.value, path) for code, path in found]


# citations


RESULT = Result(
    action="1-0",
    tool="get_order",
    effect=Effect.LANDED,
    effect_key="k",
    output={"status": "sent", "id": "A-1001"},
)
DONE = Step(
    proposal=proposal(ToolCall(tool="get_order", arguments={"order_id": "A-1001"})),
    verdict=Verdict(
        decision=Decision.APPROVE,
        actions=(
            ActionVerdict(
                action="1-0",
                tool="get_order",
                arguments={"order_id": "A-1001"},
                decision=Decision.APPROVE,
                digest="sha256:" + "0" * 64,
            ),
        ),
    ),
    results=(RESULT,),
)
TEXTS = cited_texts(make_case(proposal(), steps=(DONE,)))


def cite(*statements: Statement, rule: Any = "every") -> tuple[list[tuple[str, str]], float | None]:
    report = check_citations(proposal(statements=statements), TEXTS, OutputContract(citations=rule))
    return codes(report.violations), report.coverage


@pytest.mark.parametrize(
    "citation",
    [
        ("c1", "Refunds take five days."),
        ("c1", 'You pay "nothing" for   returns.'),
        ("c1", "“nothing”\n for"),
        ("r1-0", '"status":"sent"'),
    ],
)
def test_verbatim_quotes_pass(citation: tuple[str, str]) -> None:
    assert cite(says("So it is.", citation)) == ([], 1.0)


@pytest.mark.parametrize(
    ("citation", "code", "member"),
    [
        (("c9", "Refunds take five days."), Code.CITATION_NOT_RETRIEVED, "handle"),
        (("C1", "Refunds take five days."), Code.CITATION_NOT_RETRIEVED, "handle"),
        (("r2-0", "sent"), Code.CITATION_NOT_RETRIEVED, "handle"),
        (("c1", "Refunds take two days."), Code.QUOTE_NOT_IN_SOURCE, "quote"),
        (("c1", "refunds take five days."), Code.QUOTE_NOT_IN_SOURCE, "quote"),
        (("c2", "Refunds take five days."), Code.QUOTE_NOT_IN_SOURCE, "quote"),
        (("r1-0", "delivered"), Code.QUOTE_NOT_IN_SOURCE, "quote"),
        (("c1", " "), Code.QUOTE_NOT_IN_SOURCE, "quote"),
        (("c1", "."), Code.QUOTE_NOT_IN_SOURCE, "quote"),
    ],
)
def test_bad_citations(citation: tuple[str, str], code: Code, member: str) -> None:
    expected = [(code.value, f"/statements/1/citations/0/{member}")]
    good = says("Yes.", ("c1", "Refunds take five days."))
    assert cite(good, says("So it is.", citation)) == (expected, 0.5)


GOOD_ONE = says("It takes five days.", ("c1", "Refunds take five days."))
BARE = says("All is well.")
QUESTION = says("Which order do you mean?")


@pytest.mark.parametrize(
    ("rule", "statements", "missing", "coverage"),
    [
        ("every", [GOOD_ONE, QUESTION], [], 1.0),
        ("every", [GOOD_ONE, BARE], ["/statements/1"], 0.5),
        ("every", [QUESTION], [], None),
        ("some", [GOOD_ONE, BARE], [], 0.5),
        ("some", [BARE, BARE], ["/statements"], 0.0),
        ("some", [QUESTION], [], None),
        ("none", [BARE], [], 0.0),
    ],
)
def test_citation_rules(
    rule: str, statements: list[Statement], missing: list[str], coverage: float | None
) -> None:
    expected = [(Code.CITATION_MISSING.value, path) for path in missing]
    assert cite(*statements, rule=rule) == (expected, coverage)


@pytest.mark.parametrize("text", ["Which one?", "Really? Which one?", "He asks “why?”"])
def test_questions(text: str) -> None:
    assert is_question(text)


@pytest.mark.parametrize("text", ["Yes.", "You get it all. OK?", "You get it all\nOK?", "", "?!"])
def test_a_claim_beside_a_question_is_no_question(text: str) -> None:
    assert not is_question(text)


def test_access_is_checked_of_every_chunk_cited_or_not() -> None:
    chunks = (
        *CHUNKS,
        chunk("c3", "x", scopes=("a",)),
        chunk("c4", "x", scopes=("a", "b")),
        chunk("c5", "x", tenant="globex"),
    )
    principal = Principal(user="ann", role="customer", scopes=("a",))
    found = check_access(make_case(proposal(), chunks=chunks, principal=principal))
    assert [(one.code, one.message.split()[1]) for one in found] == [
        (Code.SCOPE_MISSING, "c4"),
        (Code.TENANT_BOUNDARY, "c5"),
    ]


# provenance


ORDER = Fact(
    name="order",
    tool="get_order",
    arguments={"order_id": "A-1001"},
    value={"order_id": "A-1001", "url": "/orders/A-1001", "paid_cents": 4200, "city": "Bern"},
)


def origins(
    arguments: dict[str, Any], facts: tuple[Fact, ...] = (ORDER,), **case: Any
) -> dict[str, tuple[str, str]]:
    sources = Sources(make_case(proposal(), **case))
    found = trace(REFUND, arguments, facts, sources)
    return {one.path: (one.origin.value, one.evidence) for one in found}


def test_every_kind_of_origin_is_told_with_its_place() -> None:
    found = origins(
        {
            "currency": "EUR",
            "amount_cents": 4200,
            "order_id": "a-1001",
            "iban": "DE12 3456",
            "reason": "five days",
            "lines": [{"sku": "B-2222", "count": 77}],
        },
        history=(Turn(role="assistant", text="77 pieces"),),
    )
    assert found == {
        "/currency": ("constant", "enum of the contract"),
        "/amount_cents": ("fact", "fact order/paid_cents = 4200"),
        "/order_id": ("user", "text[34:40] a 1001"),
        "/iban": ("user", "text[53:62] DE12 3456"),
        "/reason": ("trusted", "c1[13:22] five days"),
        "/lines/0/sku": ("untrusted", "c2[38:44] B-2222"),
        "/lines/0/count": ("invented", "found nowhere"),
    }


def test_earlier_user_turns_and_results_count() -> None:
    history = (Turn(role="user", text="My order is B-7777"),)
    found = origins({"order_id": "B-7777", "reason": "sent"}, history=history, steps=(DONE,))
    assert found["/order_id"] == ("user", "history[0][12:18] B-7777")
    assert found["/reason"] == ("result", "result r1-0/status = sent")


def test_what_a_system_only_repeats_vouches_for_nothing() -> None:
    case: dict[str, Any] = {"text": "Refund my order, please.", "steps": (DONE,)}
    found = origins({"order_id": "A-1001", "reason": "A-1001"}, **case)
    assert found["/order_id"][0] == "invented"
    assert "order_id" not in found["/reason"][1]


def test_the_first_accepted_place_counts() -> None:
    fact = ORDER.model_copy(update={"value": {"bank": "DE12 3456"}})
    assert origins({"iban": "DE12 3456"}, (fact,))["/iban"][0] == "user"
    only = origins({"iban": "DE12 3456"}, (fact,), text="Refund it.")
    assert only["/iban"][0] == "fact"
    found = trace(REFUND, {"iban": "DE12 3456"}, (fact,), Sources(make_case(proposal(), text="No")))
    assert codes(check_origins(0, REFUND, found)) == [
        (Code.ARGUMENT_UNGROUNDED.value, "/calls/0/arguments/iban")
    ]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"order_id": "A-1001", "reason": "a pure invention"}, []),
        ({"order_id": "Z-9999"}, [(Code.ARGUMENT_UNGROUNDED, "/order_id")]),
        ({"order_id": "B-2222"}, [(Code.UNTRUSTED_INSTRUCTION, "/order_id")]),
        ({"iban": "DE99 1234"}, [(Code.UNTRUSTED_INSTRUCTION, "/iban")]),
        ({"amount_cents": 3100}, [(Code.UNTRUSTED_INSTRUCTION, "/amount_cents")]),
        (
            {"lines": [{"sku": "A-1001", "count": 9}]},
            [(Code.ARGUMENT_UNGROUNDED, "/lines/0/count")],
        ),
    ],
)
def test_refused_origins(arguments: dict[str, Any], found: list[tuple[Code, str]]) -> None:
    traced = trace(REFUND, arguments, (), Sources(make_case(proposal())))
    given = codes(check_origins(0, REFUND, traced))
    assert given == [(code.value, f"/calls/0/arguments{path}") for code, path in found]


SAID = (
    "Refund €19.99 (5 euros, $1,234.50, 12,50 EUR, 1’000 CHF) for order A-1001; 3x, -5, 2026-01-31,"
    " to bob@shop.example.org or https://shop.example/a?b=1, café, item X 7."
)


@pytest.mark.parametrize(
    "value",
    [
        *[19.99, 1999, 500, 5, 123_450, 1234.5, 1250, 12.5, 100_000, 1000, 3, -5, 7],
        *["A-1001", "a1001", "A 1001", "REFUND", "2026-01-31", "café", "CAFE\u0301", "19.99"],
        *["bob@shop.example.org", "BOB@shop.example.org", "https://shop.example/a?b=1", "X7"],
    ],
)
def test_found_however_it_is_written(value: Any) -> None:
    assert Text(SAID).find(Needle(value)) is not None


@pytest.mark.parametrize(
    "value",
    [
        *[1001, 2026, 31, 19, 99, 700, 300, -3, 1999.5],
        *["1001-A", "A-100", "fund", "ob", "bob@shop.example", "ob@shop.example.org"],
        *["example.org", "https://shop.example/a"],
    ],
)
def test_not_found_where_it_is_not_said(value: Any) -> None:
    assert Text(SAID).find(Needle(value)) is None


@pytest.mark.parametrize("text", ["1,111" + ",111" * 4_000 + "x", "9" * 16_000, "a@" * 8_000])
def test_hostile_text_costs_no_more_than_its_length(text: str) -> None:
    assert Text(text).find(Needle(5)) is None
    assert Text(text).find(Needle("q@r.s")) is None


@pytest.mark.parametrize("value", [None, True, "", [], {}])
def test_values_without_content_need_no_source(value: Any) -> None:
    assert origins({"reason": value})["/reason"][0] == Origin.CONSTANT.value


def test_offsets_point_at_the_words() -> None:
    span = Text(HELP).find(Needle("you pay nothing"))
    assert span is not None
    assert HELP[slice(*span)] == "You pay “nothing"
