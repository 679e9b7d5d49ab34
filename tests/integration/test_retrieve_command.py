"""`interlock retrieve` over a bundle of its own: for an intent, and what it refuses."""

import asyncio
from pathlib import Path

import pytest
from tests.integration.test_ingest_command import ingest
from tests.integration.test_stage_filter import Piped, call

from interlock.cli.common import running_bundle
from interlock.runtime.broker.server import EmbeddedBroker

BUNDLE = """
name: bikes
version: "1"
sources:
  help: {path: "knowledge/{tenant}/help"}
  plans: {path: "knowledge/{tenant}/plans", governed: true}
retrieval: {limit: 2}
intents:
  ask: {examples: ["How much is a service?"], sources: [help, plans], retrieval: {limit: 1}}
  plan: {examples: ["What do we plan?"], sources: [plans]}
  out_of_scope: {refusal: No.}
models:
  default: {candidates: [{provider: extractive, model: extractive-1}], prompt: answer}
"""
POLICY = """
@id("leads-read-plans")
permit(principal, action == Interlock::Action::"read:plans", resource)
when { principal.role == "lead" && context.request.intent == "ask" };
"""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    files = {
        "bundle.yaml": BUNDLE,
        "policies/read.cedar": POLICY,
        "prompts/answer.jinja": "Answer.",
        "knowledge/acme/help/service.md": "A service of a bicycle costs $69.",
        "knowledge/acme/help/tyres.md": "A tyre of a bicycle costs $15.",
        "knowledge/acme/plans/mars.md": "We plan to sell bicycles on Mars.",
    }
    for name, text in files.items():
        file = tmp_path / "bikes" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "bikes"


def retrieve(bundle: Path, query: str, *more: str, tenant: str = "acme") -> Piped:
    where = ("--bundle", str(bundle), "--state", str(bundle.parent / "state"))
    return call(("retrieve", query, "--tenant", tenant, *where, *more))


def test_as_a_route_would_with_its_own_settings_and_policies(bundle: Path) -> None:
    assert len(retrieve(bundle, "bicycle", "--json").lines[0]["chunks"]) == 2
    assert len(retrieve(bundle, "bicycle", "--intent", "ask", "--json").lines[0]["chunks"]) == 1

    asked = ("--explain", "mars")
    unasked = retrieve(bundle, "Mars", *asked)
    assert "found" in unasked.out
    assert "searched without asking the policies (--intent asks them): plans" in unasked.err
    told = retrieve(bundle, "Mars", *asked, "--intent", "ask")
    assert told.status == 1
    assert "filtered_out" in told.out and "no policy permits this reader" in told.out
    assert retrieve(bundle, "Mars", *asked, "--intent", "ask", "--role", "lead").status == 0
    nothing = retrieve(bundle, "Mars", "--intent", "plan", "--role", "lead")
    assert (nothing.status, nothing.out[:12]) == (1, "filtered_out")


@pytest.mark.parametrize(
    ("query", "more", "tenant", "reason"),
    [
        ("", (), "acme", "text: the text is empty"),
        ("   ", (), "acme", "text: the text is empty"),
        ("x", (), "a b", "tenant: String should match"),
        ("x", ("--scope", "a b"), "acme", "scopes.0: String should match"),
        ("x", ("--explain", " "), "acme", "--explain: name a document"),
        ("x", ("--intent", "aks"), "acme", "no intent 'aks'; it has ask, out_of_scope"),
        ("x", ("--intent", "out_of_scope"), "acme", "search no source"),
        ("x", ("--source", ""), "acme", "no source ''; it has help, plans"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    bundle: Path, query: str, more: tuple[str, ...], tenant: str, reason: str
) -> None:
    told = retrieve(bundle, query, *more, tenant=tenant)
    assert (told.status, told.out) == (1, "")
    assert len(told.err.strip().splitlines()) == 1 and reason in told.err


def test_a_bundle_that_is_not_there_is_named_once(bundle: Path) -> None:
    for path in (bundle / "none.yaml", bundle / "prompts"):
        told = retrieve(path, "x")
        assert (told.status, told.err.count(str(path))) == (1, 1)
    (bundle / "bundle.yaml").write_text("name: x\nversion: 2026-13-01\n")
    told = retrieve(bundle, "x")
    assert f"bundle {bundle}: bundle.yaml: not valid YAML: month must be" in told.err


async def test_a_source_that_the_bundle_lacks_is_said_when_it_is_filled_and_when_it_is_missed(
    fresh_broker: EmbeddedBroker, bundle: Path, tmp_path: Path
) -> None:
    running_bundle(fresh_broker.state).write_text(str(bundle))
    (tmp_path / "vans.md").write_text("A van is for rent.")
    filled = await ingest(fresh_broker, str(tmp_path / "vans.md"), source="hlep")
    assert filled.status == 0
    assert "the bundle has no source 'hlep'" in filled.err and "help, plans" in filled.err
    assert "no source" not in (await ingest(fresh_broker, str(tmp_path / "vans.md"))).err
    assert (await cli(fresh_broker, "index", "reindex")).status == 0
    missed = await cli(
        fresh_broker, "retrieve", "a van", "--tenant", "acme", "--explain", "hlep/vans"
    )
    assert "nothing_indexed" in missed.out
    assert "on the log, of sources that the bundle does not have: hlep (1)" in missed.err


async def cli(broker: EmbeddedBroker, *arguments: str) -> Piped:
    return await asyncio.to_thread(call, (*arguments, "--state", str(broker.state)))
