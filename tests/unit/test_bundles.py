"""Compiling bundles: what comes out, and what every mistake is told."""

import re
import shutil
from pathlib import Path

import pytest

from interlock.bundles import Bundle
from interlock.bundles.compile import compile_bundle, write_bundle
from interlock.bundles.errors import BundleError, BundleUnknown
from interlock.bundles.store import FileBundles, bundle_file
from interlock_contracts.canonical import canonical_json, digest_bytes

YAML = """\
name: small
version: "1"
sources:
  help: {path: "knowledge/{tenant}/help", trust: trusted}
intents:
  ask:
    sources: [help]
    tools: [get_order]
    examples: ["How much is it?"]
    rules:
      - {id: price, pattern: 'price of'}
  out_of_scope:
    refusal: I cannot help with that.
outputs:
  default: {forbidden: ['secret']}
models:
  default:
    candidates: [{provider: extractive, model: extractive-1}]
  hosted:
    candidates: [{provider: openai, model: big}]
"""

TOOLS = """\
from pydantic import BaseModel, Field
from interlock_contracts.tools import ToolArguments, fact, tool


class Order(BaseModel):
    paid_cents: int


@tool(effect="read", returns=Order, facts=[fact("order", get="get_order", order_id="order_id")])
class GetOrder(ToolArguments):
    "Look up an order."

    order_id: str


@tool(
    effect="write",
    facts=[fact("order", get="get_order", order_id="order_id")],
    accepts={"amount_cents": ["user"]},
    summary="Refund {amount_cents} of {order_id}",
)
class CreateRefund(ToolArguments):
    "Pay money back."

    order_id: str
    amount_cents: int = Field(gt=0, json_schema_extra={"x-slot": "money_cents"})
"""

POLICY = """\
@id("read")
permit (principal, action == Interlock::Action::"get_order", resource);

@id("refund")
permit (principal, action == Interlock::Action::"create_refund", resource)
when { context.arguments.amount_cents <= context.facts.order.paid_cents };
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small bundle that compiles."""
    folder = tmp_path / "bundle"
    (folder / "policies").mkdir(parents=True)
    (folder / "prompts").mkdir()
    (folder / "bundle.yaml").write_text(YAML)
    (folder / "tools.py").write_text(TOOLS)
    (folder / "policies/shop.cedar").write_text(POLICY)
    (folder / "prompts/answer.jinja").write_text("Answer: {{ request.text }}")
    return folder


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def problems(path: Path) -> str:
    with pytest.raises(BundleError) as caught:
        compile_bundle(path)
    assert caught.value.problems
    return str(caught.value)


def test_a_folder_compiles_to_data(folder: Path) -> None:
    bundle = compile_bundle(folder)
    assert list(bundle.tools) == ["create_refund", "get_order"]  # canonical, as when stored
    assert bundle.tools["create_refund"].facts[0].tool == "get_order"
    assert bundle.policies == {"shop.cedar": POLICY}
    assert bundle.prompts == {"answer": "Answer: {{ request.text }}"}
    assert bundle.intents["ask"].rules[0].pattern == "price of"


def test_the_digest_is_of_the_content_only(folder: Path, tmp_path: Path) -> None:
    first = compile_bundle(folder)
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    assert compile_bundle(moved).digest == first.digest
    assert first.digest == digest_bytes(canonical_json(first))
    change(folder / "tools.py", "gt=0", "gt=1")
    assert compile_bundle(folder).digest != first.digest


def test_compiling_leaves_nothing_behind(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    compile_bundle(folder)
    assert sorted(folder.rglob("*")) == before


def test_a_built_file_is_the_same_bundle(folder: Path, tmp_path: Path) -> None:
    bundle = compile_bundle(folder)
    built = tmp_path / "built.json"
    write_bundle(bundle, built)
    assert digest_bytes(built.read_bytes()) == bundle.digest
    assert compile_bundle(built) == bundle


def test_a_built_file_is_checked_too(folder: Path, tmp_path: Path) -> None:
    built = tmp_path / "built.json"
    write_bundle(compile_bundle(folder), built)
    change(built, '"tools":["get_order"]', '"tools":["get_odrer"]')
    assert "built.json: intents.ask.tools.0: there is no tool 'get_odrer'" in problems(built)
    built.write_text("{")
    assert "built.json: Invalid JSON" in problems(built)
    assert "cannot be read" in problems(tmp_path / "none.json")


def test_extends_merges_one_level_deep(folder: Path) -> None:
    other = folder / "other.yaml"
    other.write_text(
        "extends: bundle.yaml\nversion: '2'\n"
        "intents:\n  ask: {examples: [Is it dear]}\n"
        "router: {threshold: 0.5}\n"
    )
    bundle = compile_bundle(other)
    assert (bundle.name, bundle.version) == ("small", "2")
    assert bundle.intents["ask"].examples == ("Is it dear",)
    assert bundle.intents["ask"].tools == ()
    assert bundle.intents["out_of_scope"].refusal == "I cannot help with that."
    assert list(bundle.tools) == ["create_refund", "get_order"]  # canonical, as when stored


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: ../bundle.yaml\n", "other.yaml:1: extends: give the name of a YAML file"),
        ("extends: none.yaml\n", "none.yaml: cannot be read"),
        ("extends: other.yaml\n", "other.yaml extends another file itself"),
        ("extends: bundle.yaml\nintents:\n  ask: {modle: fast}\n", "other.yaml:3: intents.ask.mod"),
    ],
)
def test_extends_must_reject(folder: Path, text: str, message: str) -> None:
    (folder / "other.yaml").write_text(text)
    assert message in problems(folder / "other.yaml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: small", "name: [small", "bundle.yaml:2: not valid YAML"),
        ("name: small", "name: small\nname: big", "bundle.yaml:2: name: this key was given before"),
        (YAML, "- a list", "bundle.yaml: a bundle is a mapping"),
        ("name: small", "name: small\ncolour: red", "bundle.yaml:2: colour: unknown key; remove"),
        ("name: small", "name: small\nroutr: {}", "unknown key; did you mean 'router'?"),
        ("id: price", "id: price, patern: x", "unknown key; did you mean 'pattern'?"),
        ("name: small", "name: small\ntools: {}", "bundle.yaml:2: tools: unknown key here"),
        ('version: "1"', "version: 1", "bundle.yaml:2: version: Input should be a valid string"),
        ('version: "1"\n', "", "version: Field required"),
        ("name: small", "name: small\nretrieval: {min_score: .inf}", "has no JSON form: Out of"),
        ("sources: [help]", "sources: [help]\n    retrieval: {limmit: 3}",
         "intents.ask.retrieval.limmit: unknown key; did you mean 'limit'?"),
        ("name: small", "name: small\nretrieval: {candidates: 1000}", "up to 18,000 hits"),
        ("sources: [help]", "sources: [help]\n    retrieval: {candidates: 500, aspects: 16}",
         "intents.ask.retrieval: a search puts up to 21,000 hits"),
        ("sources: [help]", "sources: [halp]", "bundle.yaml:7: intents.ask.sources.0: there is no "
         "source 'halp'; did you mean 'help'?"),
        ("['secret']}", "['secret'], language: eng}", "outputs.default.language: there is no lan"),
        ("['secret']}", "['secret'], json_schema: {type: objct}}",
         "outputs.default.json_schema: no JSON Schema: "),
        ("['secret']}", "['secret'], json_schema: {type: array}}",
         "outputs.default.json_schema.type: a structured answer is an object"),
        ("['secret']}", "['secret'], sections: [Answer], fallback: extractive}",
         "outputs.default.fallback: a quoted sentence has no sections"),
        ("tools: [get_order]", "tools: [pay]", "bundle.yaml:8: intents.ask.tools.0: there is no "
         "tool 'pay'; the bundle has: create_refund, get_order"),
        ("tools: [get_order]", "output: long", "bundle.yaml:8: intents.ask.output: there is no "
         "output 'long'"),
        ("tools: [get_order]", "model: big", "bundle.yaml:8: intents.ask.model: there is no model "
         "route 'big'"),
        ("  default:\n    cand", "  default:\n    prompt: brief\n    cand",
         "models.default.prompt: there is no prompt 'brief'"),
        ("tools: [get_order]", "data_class: health\n    model: hosted",
         "intents.ask.data_class: no candidate of the model route 'hosted' may have data"),
        ("tools: [get_order]", "plans: [pay]", "intents.ask.plans.0: there is no tool 'pay'"),
        ("  hosted:\n    candidates: [{", "  hosted:\n    candidates: [{account: team, ",
         "hosted.candidates.0.account: there is no account 'team'"),
        ("  hosted:\n    candidates: [{", "  hosted:\n    candidates: [{max_cost_micros: 5, ",
         "its cost is limited: there is no price 'openai/big'"),
        ("  hosted:\n    candidates: [{provider: openai", "  hosted:\n    candidates: [{provider: "
         "record", "name the provider to record in options.of"),
        ("models:\n", "prices: {big: {input: 1, output: 1}}\nmodels:\n",
         "prices.big: name a price provider/model"),
        ("    examples: [\"How much is it?\"]\n"
         "    rules:\n      - {id: price, pattern: 'price of'}\n", "",
         "bundle.yaml:6: intents.ask: no request can reach it"),
        ("price of", "price (of", "bundle.yaml:11: intents.ask.rules.0.pattern: not a regular"),
        ("'secret'", "'*secret'", "bundle.yaml:15: outputs.default.forbidden.0: not a regular"),
        ("name: small", "name: small\nprivacy: {allow: ['(']}",
         "bundle.yaml:2: privacy.allow.0: not a regular"),
        ("name: small", "name: small\nprivacy: {recognisers: [{kind: X, pattern: '['}]}",
         "bundle.yaml:2: privacy.recognisers.0.pattern: not a regular"),
        ("name: small", "name: small\nprivacy: {kinds: [MAIL]}", "bundle.yaml:2: privacy.kinds.0"),
        ("out_of_scope:", "other:", "router.fallback: there is no intent 'out_of_scope'"),
        ("knowledge/{tenant}/help", "../{tenant}", "bundle.yaml:4: sources.help.path: give a"),
        ("knowledge/{tenant}/help", "knowledge", "bundle.yaml:4: sources.help.path: give a folder"),
    ],
)  # fmt: skip
def test_yaml_must_reject(folder: Path, old: str, new: str, message: str) -> None:
    change(folder / "bundle.yaml", old, new)
    assert message in problems(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("class Order(", "class Order(:", "tools.py:5: cannot be imported: SyntaxError"),
        ("paid_cents: int\n", "paid_cents: int\n\n1 / 0\n", "tools.py:8: cannot be imported: Zero"),
        ("class CreateRefund", "class Get_order", "get_order: two tools have this name"),
        ('accepts={"amount_cents"', 'accepts={"amount"', "create_refund: accepts: there is no "
         "argument 'amount'; did you mean 'amount_cents'?"),
        ("{amount_cents} of", "{cents} of", "create_refund: summary: there is no argument 'cents'"),
        ('"x-slot": "money_cents"', '"x-personal": "MAIL"',
         "create_refund.amount_cents: x-personal: 'MAIL' is not redacted here"),
        ("money_cents", "money", "create_refund.amount_cents: x-slot 'money' is not one of"),
        ('get="get_order"', 'get="get_ordr"', "create_refund: fact order: there is no tool "
         "'get_ordr'"),
        ('get="get_order"', 'get="create_refund"', "create_refund has effect 'write'; only a read"),
        ('order_id="order_id"', 'id="order_id"', "there is no argument of get_order 'id'"),
        ('order_id="order_id"', 'order_id="order"', "there is no argument of create_refund"),
        (', order_id="order_id"', "", "get_order needs the argument 'order_id'"),
    ],
)  # fmt: skip
def test_tools_must_reject(folder: Path, old: str, new: str, message: str) -> None:
    change(folder / "tools.py", old, new)
    assert message in problems(folder)


def test_other_files_must_reject(folder: Path) -> None:
    prompt, policy = folder / "prompts/answer.jinja", folder / "policies/shop.cedar"
    prompt.write_text("Hello\n{% if %}")
    assert "prompts/answer.jinja:2: not a Jinja template" in problems(folder)
    prompt.write_bytes(b"\xff")
    assert "answer.jinja: cannot be read (not UTF-8)" in problems(folder)
    prompt.write_text("Hello")
    policy.write_text('@id("read")\npermit (principal, action, resource')
    assert "shop.cedar:1" in problems(folder)
    policy.write_text(POLICY.replace("paid_cents", "payed_cents"))
    assert "payed_cents" in problems(folder)


def test_every_problem_is_told_at_once_and_no_input_is_shown(folder: Path) -> None:
    change(folder / "bundle.yaml", 'version: "1"', "version: [s3cret]")
    change(folder / "bundle.yaml", "name: small", "name: small\ncolour: s3cret")
    told = problems(folder)
    assert len(told.splitlines()) == 2
    assert "s3cret" not in told


def test_a_folder_without_a_bundle(tmp_path: Path) -> None:
    assert "bundle.yaml: cannot be read (No such file or directory)" in problems(tmp_path)


async def test_file_bundles_finds_older_ones_by_digest(folder: Path, tmp_path: Path) -> None:
    old = compile_bundle(folder)
    change(folder / "bundle.yaml", 'version: "1"', 'version: "2"')
    new = compile_bundle(folder)
    bundles = FileBundles(new, tmp_path)
    assert bundles.active() is new
    assert await bundles.get(new.digest) is new
    with pytest.raises(BundleUnknown) as unknown:
        await bundles.get(old.digest)
    assert unknown.value.digest == old.digest
    write_bundle(old, bundle_file(tmp_path, old.digest))
    assert await bundles.get(old.digest) == old
    with pytest.raises(BundleUnknown):
        await FileBundles(new).get(old.digest)


async def test_file_bundles_refuses_a_file_with_another_bundles_name(
    folder: Path, tmp_path: Path
) -> None:
    active = compile_bundle(folder)
    wanted = Bundle(name="other", version="1").digest
    write_bundle(active, bundle_file(tmp_path, wanted))
    with pytest.raises(BundleError, match="holds sha256:"):
        await FileBundles(active, tmp_path).get(wanted)


def test_what_has_one_digest_reads_the_same_from_a_folder_and_from_a_file(
    folder: Path, tmp_path: Path
) -> None:
    """In the same order too: rules are tried, and tools offered, in the order of the data."""
    bundle = compile_bundle(folder)
    write_bundle(bundle, tmp_path / "built.json")
    built = compile_bundle(tmp_path / "built.json")
    assert bundle.model_dump_json() == built.model_dump_json()


def test_a_gate_names_a_gold_set_and_holds_its_digest(folder: Path) -> None:
    before = compile_bundle(folder)
    assert "gates" not in before.model_dump()
    gate = "name: small\ngates:\n  evals: [{gold: gold.jsonl, pass_rate: 0.9}]\n"
    change(folder / "bundle.yaml", "name: small\n", gate)
    assert re.search(
        r"bundle.yaml:\d+: gates.evals.0: gold.jsonl: cannot be read", problems(folder)
    )
    (folder / "gold.jsonl").write_text("{}\n")
    (made,) = compile_bundle(folder).gates.evals
    assert (made.name, made.gold, made.pass_rate) == ("gold.jsonl", digest_bytes(b"{}\n"), 0.9)
    assert compile_bundle(folder).digest != before.digest
    change(folder / "bundle.yaml", "pass_rate: 0.9", "pass_rate: 2")
    assert "pass_rate" in problems(folder)
