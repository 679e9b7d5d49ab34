"""`bundle check`: what the gate lets happen, and a warning for each thing not meant."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from interlock.bundles.advice import Advice, advise
from interlock.bundles.compile import compile_from
from interlock.bundles.reach import ANYBODY_ELSE, EVERYBODY, Way, ways
from interlock.cli.app import app

YAML = """\
name: small
version: "1"
sources:
  help: {path: "knowledge/{tenant}/help", trust: trusted}
  notes: {path: "knowledge/{tenant}/notes", governed: true}
intents:
  pay_back:
    sources: [help]
    tools: [get_order, create_refund]
    review_class: refunds
    examples: ["Refund my order"]
  write_note:
    roles: [agent]
    sources: [notes]
    tools: [write_note]
    examples: ["Note that she called"]
  out_of_scope: {refusal: No.}
models:
  default: {candidates: [{provider: extractive, model: extractive-1}]}
"""

TOOLS = """\
from typing import Annotated, Literal
from pydantic import BaseModel, Field
from interlock_contracts.rules import after, limit
from interlock_contracts.tools import ToolArguments, fact, tool


class Order(BaseModel):
    customer: str
    paid: int


@tool(effect="read", returns=Order)
class GetOrder(ToolArguments):
    order_id: str


@tool(effect="write", facts=[fact("order", get="get_order", order_id="order_id")],
      limits=[limit(2, per="day")])
class CreateRefund(ToolArguments):
    order_id: str
    amount: int
    kind: Literal["part", "whole"] = "part"


@tool(effect="write", roles=["agent"], accepts={"text": ["user"]})
class WriteNote(ToolArguments):
    text: str
"""

ACT = 'action == Interlock::Action::"{}", resource'
NOTE, ORDER = ACT.format("write_note"), ACT.format("get_order")
REFUNDS = f"""\
@id("order") permit (principal, {ACT.format("get_order")});
@id("small") permit (principal, {ACT.format("create_refund")})
when {{ context.arguments.amount <= 100 && context.facts.order.customer == principal.user }};
@id("large") @obligation("review:refunds")
permit (principal, {ACT.format("create_refund")})
when {{ context.arguments.amount > 100 && principal.role == "agent" }};
@id("paid") forbid (principal, {ACT.format("create_refund")})
unless {{ context.arguments.amount <= context.facts.order.paid }};
"""
NOTES = f"""\
@id("note") @obligation("confirm") permit (principal, {ACT.format("write_note")});
@id("notes") permit (principal, {ACT.format("read:notes")})
when {{ context.request.intent == "write_note" }};
"""


class Folder:
    """A bundle on disk, whose files can be altered."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("bundle.yaml", YAML)
        self.write("tools.py", TOOLS)
        self.write("policies/refunds.cedar", REFUNDS)
        self.write("policies/notes.cedar", NOTES)
        self.write("prompts/answer.jinja", "Answer: {{ request.text }}")

    def write(self, name: str, text: str) -> None:
        (self.root / name).parent.mkdir(exist_ok=True)
        (self.root / name).write_text(text)

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.root / name).read_text() if (self.root / name).exists() else ""
        assert old in text
        self.write(name, text.replace(old, new, 1) if old else text + new)

    def ways(self) -> list[Way]:
        return ways(compile_from(self.root)[0])

    def advice(self) -> list[Advice]:
        bundle, source = compile_from(self.root)
        return advise(bundle, source, ways(bundle))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def told(folder: Folder, action: str) -> dict[tuple[str, ...], Way]:
    return {way.who: way for way in folder.ways() if way.action == action}


def test_the_engine_says_what_happens_and_what_it_depends_on(folder: Folder) -> None:
    refund = told(folder, "create_refund")
    agent, others = refund["agent",], refund[ANYBODY_ELSE,]
    assert agent.outcomes == ((), ("review:refunds",))
    assert others.outcomes == ((),)
    assert agent.may_be_refused and others.may_be_refused
    assert others.depends_on == (
        "arguments.amount",
        "facts.order.customer",
        "facts.order.paid",
        "principal.user",
    )
    (order,) = told(folder, "get_order").values()
    assert (order.who, order.outcomes, order.may_be_refused) == ((EVERYBODY,), ((),), False)
    (note,) = told(folder, "write_note").values()
    assert (note.who, note.outcomes, note.depends_on) == (("agent",), (("confirm",),), ())
    assert told(folder, "read:notes")["agent",].outcomes == ((),)


def test_a_forbid_that_always_holds_leaves_nothing(folder: Folder) -> None:
    folder.edit("policies/notes.cedar", "", f'@id("off") forbid (principal, {NOTE});')
    assert told(folder, "write_note")["agent",].outcomes == ()


def test_a_user_whom_policies_name_is_told_apart(folder: Folder) -> None:
    rule = f'@id("kim") forbid (principal == Interlock::User::"kim", {NOTE});'
    folder.edit("policies/notes.cedar", "", rule)
    found = told(folder, "write_note")
    assert found["agent",].outcomes == (("confirm",),)
    assert found["kim as agent",].outcomes == ()


def test_permits_that_hold_together_add_up(folder: Folder) -> None:
    also = f'@id("also") @obligation("two_person") permit (principal, {NOTE}) '
    folder.edit("policies/notes.cedar", "", also + 'when { context.arguments.text like "*!*" };')
    assert told(folder, "write_note")["agent",].outcomes == (
        ("confirm",),
        ("confirm", "two_person"),
    )


def test_a_bundle_as_meant_has_no_warnings(folder: Folder) -> None:
    assert folder.advice() == []


MUST_WARN = [
    ("unconstrained_tool", "policies/notes.cedar", '@obligation("confirm") ', "", "notes.cedar:1"),
    ("unconstrained_argument", "tools.py", ', accepts={"text": ["user"]}', "", "tools.py"),
    ("unconstrained_argument", "tools.py", "    amount: int\n",
     "    amount: int\n    why: list[str]\n", "tools.py"),
    ("never_permitted", "policies/refunds.cedar", ORDER,
     f'{ORDER}) when {{ principal.role == "agent" }};\n@id("no") forbid (principal, {ORDER}',
     "bundle.yaml:7"),
    ("unreachable_tool", "bundle.yaml", "tools: [write_note]", "tools: []", "tools.py"),
    ("unreachable_tool", "tools.py", 'roles=["agent"]', 'roles=["clerk"]', "bundle.yaml:12"),
    ("unreachable_policy", "bundle.yaml", "sources: [notes]", "sources: []", "notes.cedar:2"),
    ("unreachable_policy", "policies/notes.cedar", '== "write_note"', '== "write_notes"',
     "notes.cedar:2"),
    ("unreachable_intent", "bundle.yaml", 'examples: ["Refund my order"]',
     "rules: [{id: r, pattern: refund}]", "bundle.yaml:7"),
    ("unused_part", "bundle.yaml", "models:\n",
     "models:\n  spare: {candidates: [{provider: extractive, model: e}]}\n", "bundle.yaml:19"),
    ("unused_part", "bundle.yaml", "models:\n",
     "outputs: {default: {}, spare: {}}\nmodels:\n", "bundle.yaml:18"),
    ("unused_part", "bundle.yaml", "sources: [help]", "sources: []", "bundle.yaml:4"),
    ("unused_part", "prompts/spare.jinja", "", "Spare: {{ request.text }}", "prompts/spare.jinja"),
    ("review_class", "policies/refunds.cedar", "review:refunds", "review:refund",
     "refunds.cedar:4"),
    ("review_class", "bundle.yaml", "models:\n",
     "outputs: {default: {fallback: review, review_class: refund}}\nmodels:\n",
     "bundle.yaml:18"),
    ("review_class", "bundle.yaml", "models:\n",
     "overrides: [{id: o, effect: review, roles: [x], review_class: refund}]\nmodels:\n",
     "bundle.yaml:18"),
    ("review_class", "bundle.yaml", "models:\n",
     "groups: {leads: [kim]}\nreviewers: {treasury: [leads]}\nmodels:\n", "bundle.yaml:19"),
    ("review_class", "policies/notes.cedar", '@obligation("confirm") ',
     f'@obligation("review:a") permit (principal, {NOTE});\n@id("n2") @obligation("review:b") ',
     "notes.cedar:2"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "file", "old", "new", "place"), MUST_WARN)
def test_each_fault_is_warned_of_at_its_place(
    folder: Folder, code: str, file: str, old: str, new: str, place: str
) -> None:
    folder.edit(file, old, new)
    found = [one for one in folder.advice() if one.code == code]
    assert [one.place for one in found if one.place.endswith(place)], folder.advice()


@pytest.mark.parametrize(("leads", "warned"), [("kim", True), ("kim, lee", False)])
def test_two_people_are_wanted_where_one_may_decide(
    folder: Folder, leads: str, warned: bool
) -> None:
    folder.edit("policies/refunds.cedar", "review:refunds", "review:refunds, two_person")
    groups = f"groups: {{leads: [{leads}]}}\nreviewers: {{refunds: [leads]}}\nmodels:\n"
    folder.edit("bundle.yaml", "models:\n", groups)
    assert [one.place for one in folder.advice()] == ["policies/refunds.cedar:4"] * warned


MUST_NOT_WARN = [
    ("policies/notes.cedar", f'@obligation("confirm") permit (principal, {NOTE})',
     f'permit (principal, {NOTE}) when {{ context.arguments.text like "*:*" }}'),
    ("policies/notes.cedar", '@obligation("confirm") ',
     f'forbid (principal, {NOTE}) when {{ context.history.repeated }};\n@id("x") '),
    ("tools.py", '    text: str', '    text: Annotated[str, Field(pattern="^[a-z]+$")]'),
    ("tools.py", ', accepts={"text": ["user"]}', ', confirms={"text": ["invented"]}'),
    ("tools.py", "    amount: int\n",
     "    amount: int\n    day: Literal['a', 'b'] | None = None\n"),
    ("bundle.yaml", "    tools: [write_note]",
     "    plans: [create_refund]\n    tools: [write_note]"),
    ("bundle.yaml", "tools: [get_order, create_refund]", "tools: [create_refund, get_order]"),
    ("policies/refunds.cedar", "review:refunds", "review:treasury"),
    ("bundle.yaml", "models:\n",
     "outputs: {default: {fallback: review, review_class: refunds}}\nmodels:\n"),
    ("bundle.yaml", "models:\n",
     "outputs: {default: {fallback: review, review_class: lawyers}}\nmodels:\n"),
    ("policies/refunds.cedar", "", '@id("every") forbid (principal, action, resource) '
     'when { principal.scopes.contains("barred") };'),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new"), MUST_NOT_WARN)
def test_what_is_meant_is_not_warned_of(folder: Folder, file: str, old: str, new: str) -> None:
    folder.edit(file, old, new)
    assert folder.advice() == []


OWN = f"""\
@id("order") permit (principal, {ACT.format("get_order")});
@id("own") permit (principal, {ACT.format("create_refund")})
when {{ context.facts.order.customer == principal.user }};
"""
BIG = f"(principal, {ACT.format('create_refund')}) when {{ context.arguments.amount > 100 }};"

PART = BIG.replace("amount > 100", 'kind == "part"')


@pytest.fixture
def risky(folder: Folder) -> Folder:
    """A refund of high risk, of any amount, to whoever made the order."""
    folder.edit(
        "tools.py", '@tool(effect="write", facts', '@tool(effect="write", risk="high", facts'
    )
    folder.edit("tools.py", "amount: int", "amount: int = Field(ge=0)")
    folder.write("policies/refunds.cedar", OWN)
    return folder


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("tools.py", "", "# as it is"),
        ("tools.py", "amount: int = Field(ge=0)", "amount: float | None = None"),
        # Neither another way through, nor a forbid of something else, nor asking some bounds it.
        ("policies/refunds.cedar", "", f'@id("big") permit {BIG}'),
        ("policies/refunds.cedar", "", f'@id("part") forbid {PART}'),
        ("bundle.yaml", "models:\n",
         "overrides: [{id: o, effect: confirm, channels: [x]}]\nmodels:\n"),
    ],
)  # fmt: skip
def test_an_amount_that_nothing_bounds_is_warned_of(
    risky: Folder, file: str, old: str, new: str
) -> None:
    risky.edit(file, old, new)
    found = [one for one in risky.advice() if one.code == "unbounded_amount"]
    assert [one.place for one in found] == ["policies/refunds.cedar:2"]
    assert "own lets everybody call create_refund with any amount" in found[0].message


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("tools.py", 'risk="high"', 'risk="medium"'),
        ("tools.py", "Field(ge=0)", "Field(ge=0, le=1000)"),
        ("tools.py", "int = Field(ge=0)", "Literal[5, 10]"),
        ("tools.py", " = Field(ge=0)", ""),  # as well an identifier
        ("tools.py", 'limit(2, per="day")', 'limit(900, per="day", sum="amount")'),
        ("policies/refunds.cedar", "", f'@id("big") forbid {BIG}'),
        ("policies/refunds.cedar", "", f'@id("big") @obligation("confirm") permit {BIG}'),
        ("policies/refunds.cedar", '@id("own")', '@id("own") @obligation("confirm")'),
        ("policies/refunds.cedar", "when {", "when { context.arguments.amount < 100 &&"),
        ("bundle.yaml", "models:\n",
         "overrides: [{id: o, effect: confirm, risks: [low]}]\nmodels:\n"),
    ],
)  # fmt: skip
def test_an_amount_that_something_bounds_is_not(
    risky: Folder, file: str, old: str, new: str
) -> None:
    risky.edit(file, old, new)
    assert [one for one in risky.advice() if one.code == "unbounded_amount"] == []


def test_the_example_and_the_measured_bundles_are_clean() -> None:
    for path in (Path("examples/support"), *sorted(Path("bench/gate/bundles").iterdir())):
        bundle, source = compile_from(path)
        assert advise(bundle, source, ways(bundle)) == [], path


def test_the_command_explains_and_fails_only_if_it_is_told_to(folder: Folder) -> None:
    shell, path = CliRunner(), str(folder.root)
    clean = shell.invoke(app, ["bundle", "check", path, "--strict"])
    assert clean.exit_code == 0, clean.output
    for part in ("create_refund", "review:refunds", "or refused", "facts.order.paid", "2 calls"):
        assert part in clean.output
    folder.edit("policies/notes.cedar", '@obligation("confirm") ', "")
    warned = shell.invoke(app, ["bundle", "check", path])
    assert (warned.exit_code, "warning: policies/notes.cedar:1: note lets" in warned.output) == (
        0,
        True,
    )
    strict = shell.invoke(app, ["bundle", "check", path, "--strict", "--json"])
    assert strict.exit_code == 1
    said = json.loads(strict.stdout)
    assert [one["code"] for one in said["warnings"]] == ["unconstrained_tool"]
    (way,) = [one for one in said["gate"] if one["action"] == "write_note"]
    assert (way["who"], way["outcomes"], way["may_be_refused"]) == (["agent"], [[]], False)
    assert way["permits"][0]["place"] == "policies/notes.cedar:1"
    assert said["rules"]["create_refund"]["limits"][0]["most"] == 2


def test_the_command_says_what_becomes_of_answers(folder: Folder) -> None:
    shell, path = CliRunner(), str(folder.root)
    before = json.loads(shell.invoke(app, ["bundle", "check", path, "--json"]).stdout)
    assert before["answers"] == {"default": "refuse"}
    seen = "overrides: [{id: seen, effect: review, answers: true, roles: [agent]}]\n"
    reviewed = "outputs: {default: {fallback: review}}\n"
    folder.edit("bundle.yaml", "models:\n", f"{reviewed}{seen}models:\n")
    after = json.loads(shell.invoke(app, ["bundle", "check", path, "--json"]).stdout)
    # Without a class of its own each intent's reviewers decide.
    assert after["answers"] == {"default": "review:general or review:refunds"}
    told = shell.invoke(app, ["bundle", "check", path]).output
    assert "review:general or review:refunds" in told
    assert "review, answers too" in told
