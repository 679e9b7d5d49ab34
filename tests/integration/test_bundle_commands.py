"""The commands, as somebody at a shell: push, activate, roll back, compare, evaluate."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from tests.integration.test_stage_filter import Piped, call
from tests.support.system import running_system

from interlock.cli.system import System

pytestmark = pytest.mark.asyncio(loop_scope="module")

FOLDER = """\
name: tiny
version: "{version}"
intents:
  greet:
    examples: [Hello, "Good morning", "Hi there"]
    refusal: "{reply}"
  out_of_scope:
    refusal: Not that.
    examples: ["What is the weather like?", "Tell me a joke"]
{gates}models:
  default: {{candidates: [{{provider: extractive, model: extractive-1}}]}}
"""
GATES = "gates:\n  evals: [{gold: gold.jsonl, pass_rate: 0.5}]\n"
GOLD = '{"id": "hello", "tenant": "acme", "user": "ann", "role": "customer", "text": "Hello", '


@dataclass
class Shell:
    """A running installation with two tenants, and commands on it."""

    system: System
    root: Path

    async def __call__(self, *arguments: str) -> Piped:
        state = ("--state", str(self.system.settings.state))
        return await asyncio.to_thread(call, (*arguments, *state))

    async def bundle(self, *arguments: str) -> Piped:
        return await self("bundle", *arguments)

    def folder(self, version: str, reply: str = "Hello.", gates: str = "") -> Path:
        """A bundle's folder, with a gold set beside it."""
        folder = self.root / version
        (folder / "prompts").mkdir(parents=True)
        (folder / "prompts/answer.jinja").write_text("Answer: {{ request.text }}")
        text = FOLDER.format(version=version, reply=reply, gates=gates)
        (folder / "gold.jsonl").write_text(f'{GOLD}"outcome": "refused", "contains": "Hello"}}\n')
        (folder / "bundle.yaml").write_text(text)
        return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shell(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shell]:
    root = tmp_path_factory.mktemp("shell")
    made = Shell.folder(Shell(None, root), "1.0")  # type: ignore[arg-type]  # needs no system
    async with running_system(root / "state", bundle=made) as system:
        yield Shell(system, root)


async def test_a_bundle_whose_documents_are_not_where_the_retriever_is(shell: Shell) -> None:
    folder = shell.folder("1.0.1", "Good day.")
    source = folder / "bundle.yaml"
    (folder / "kb/acme/help").mkdir(parents=True)
    text = source.read_text() + "\nsources: {help: {path: 'kb/{tenant}/help'}}\n"
    source.write_text(text)
    pushed = await shell.bundle("push", str(folder))
    assert (pushed.status, "do not travel" in pushed.err) == (0, True), pushed.err
    refused = await shell.bundle("activate", "tiny@1.0.1", "--reason", "x")
    assert refused.status == 1
    assert "there is no folder" in refused.err + refused.out
    assert "take the path out of the source" in refused.err + refused.out


async def test_from_push_to_rollback(shell: Shell) -> None:
    folder = shell.folder("1.1", "Good day.")
    pushed = await shell.bundle("push", str(folder), "--json", "--author", "ann")
    digest = pushed.lines[0]["digest"]
    assert pushed.lines[0]["new"] is True
    again = await shell.bundle("push", str(folder), "--json")
    assert (again.lines[0]["digest"], again.lines[0]["new"]) == (digest, False)
    no_reason = await shell.bundle("activate", "tiny@1.1")
    assert (no_reason.status, "--reason" in no_reason.err) == (1, True)
    made = await shell.bundle("activate", "tiny@1.1", "--reason", "warmer", "--author", "ann")
    assert made.status == 0, made.err
    assert "tiny 1.1" in made.out and "contract-validator" in made.out and "ms" in made.out
    status = await shell.bundle("status", "--json")
    assert (status.status, status.lines[0]["bundle"]) == (0, digest)
    back = await shell.bundle("rollback", "--json")
    assert (back.lines[0]["version"], back.lines[0]["how"]) == ("1.0", "rollback")
    history = await shell.bundle("history", "--json")
    assert [(one["how"], one["version"]) for one in history.lines] == [
        ("up", "1.0"), ("activate", "1.1"), ("rollback", "1.0"),
    ]  # fmt: skip
    assert (history.lines[1]["by"], history.lines[1]["reason"]) == ("ann", "warmer")
    nothing = await shell.bundle("rollback")
    assert (nothing.status, "nothing to go back to" in nothing.err) == (1, True)
    listed = await shell.bundle("list", "--json")
    states = {one["version"]: (one["state"], one["by"]) for one in listed.lines}
    assert states["1.0"][0] == "active" and states["1.1"] == ("", "ann")
    for reference in (digest, digest[7:19], "tiny"):
        shown = await shell.bundle("show", reference, "--json")
        assert shown.lines[0]["version"] == "1.1"


async def test_a_reference_that_means_none_or_several_is_an_error(shell: Shell) -> None:
    for number, reply in enumerate(("one", "two")):
        folder = shell.folder(f"2.{number}", reply)
        source = folder / "bundle.yaml"
        source.write_text(source.read_text().replace(f'"2.{number}"', '"2"'))
        assert (await shell.bundle("push", str(folder))).status == 0
    several = await shell.bundle("activate", "tiny@2", "--reason", "x")
    assert several.status == 1 and "is 2 bundles" in several.err
    none = await shell.bundle("activate", "tiny@9", "--reason", "x")
    assert none.status == 1 and "bundle list" in none.err


async def test_diff_in_words(shell: Shell) -> None:
    folder = shell.folder("3.0", "Ahoy.")
    found = await shell.bundle("diff", str(folder))
    assert found.status == 1
    assert "~ intent greet: refusal Hello. → Ahoy." in found.out
    same = await shell.bundle("diff", str(folder), str(folder))
    assert (same.status, same.out.splitlines()[1]) == (0, "they are the same bundle")
    machine = await shell.bundle("diff", "tiny@1.0", str(folder), "--json")
    assert machine.lines[0]["changes"] == len(machine.lines) - 1 > 0


async def test_a_gate_asks_for_an_evaluation_that_has_passed(shell: Shell) -> None:
    good, bad = shell.folder("4.0", gates=GATES), shell.folder("4.1", "Nope.", GATES)
    for folder in (good, bad):
        assert (await shell.bundle("push", str(folder))).status == 0
        missing = await shell.bundle("activate", f"tiny@{folder.name}", "--reason", "x")
        assert missing.status == 1 and "has not been evaluated on gold.jsonl" in missing.err
    gold = str(good / "gold.jsonl")
    unrecorded = await shell("eval", "run", "--bundle", str(good), "--gold", gold)
    assert (unrecorded.status, unrecorded.out.splitlines()[-1]) == (0, "1 of 1 passed")
    assert (await shell.bundle("activate", "tiny@4.0", "--reason", "x")).status == 1
    by_hand = await shell.bundle("push", str(good), "--activate", "--reason", "x")
    assert by_hand.status == 1 and "has not been evaluated" in by_hand.err
    deployed = await shell("deploy", "activate", "--bundle", str(good))
    assert deployed.status == 1 and "has not been evaluated" in deployed.err
    failed = await shell("eval", "run", "--bundle", str(bad), "--gold", gold, "--record")
    assert failed.status == 1 and 'hello: "Hello" is not in "Nope."' in failed.out
    refused = await shell.bundle("activate", "tiny@4.1", "--reason", "x")
    assert refused.status == 1 and "passed 0 of 1 cases" in refused.err
    assert (
        await shell("eval", "run", "--bundle", str(good), "--gold", gold, "--record")
    ).status == 0
    made = await shell.bundle("activate", "tiny@4.0", "--reason", "evaluated", "--json")
    assert made.status == 0, made.err
    assert len(made.lines[0]["evaluations"]) == 1
    # Going back is never asked for one; another bundle is, where the operator wants it.
    assert (await shell.bundle("rollback")).status == 0
    assert (await shell.bundle("push", str(shell.folder("4.9", "Good day.")))).status == 0
    wanted = await shell.bundle("activate", "tiny@4.9", "--reason", "x", "--require-eval", gold)
    assert wanted.status == 1 and "has not been evaluated" in wanted.err


async def test_outcomes_by_bundle(shell: Shell) -> None:
    folder = shell.folder("6.0", "Six.")
    assert (await shell.bundle("push", str(folder))).status == 0
    run = await shell.bundle("activate", "tiny@6.0", "--tenant", "globex", "--reason", "try")
    assert run.status == 0
    none = await shell.bundle("outcomes")
    assert (none.status, none.out) == (0, "no request has ended since\n")
    for tenant, count in (("globex", 2), ("acme", 1)):
        for _ in range(count):
            await shell("ask", "Hello", "--tenant", tenant)
    found = {
        one["name"].split()[1]: one for one in (await shell.bundle("outcomes", "--json")).lines
    }
    assert found["6.0"]["endings"] == {"refused": 2}
    assert sum(one["requests"] for one in found.values()) == 3 and len(found) == 2
    shown = await shell.bundle("outcomes")
    assert "2 (100%)" in shown.out and "2 out_of_scope" in shown.out
    assert (await shell.bundle("outcomes", "--since", "999")).status == 1
    assert (await shell.bundle("rollback")).status == 0


async def test_a_canary_and_a_shadow_by_command(shell: Shell) -> None:
    folder = shell.folder("5.0", "Later.")
    assert (await shell.bundle("push", str(folder))).status == 0
    for arguments in (("promote",), ("rollback",)):
        run = await shell.bundle(
            "activate", "tiny@5.0", "--tenant", "globex", "--share", "0.1", "--reason", "try"
        )
        assert run.status == 0 and "10.0% of the requests and tenant globex" in run.out
        reason = ("--reason", "enough")
        assert (await shell.bundle(*arguments, *reason)).status == 0
        if arguments == ("promote",):
            assert (await shell.bundle("rollback")).status == 0
    none = await shell.bundle("shadow")
    assert none.status == 1 and "no bundle is judged beside" in none.err
    assert (await shell.bundle("shadow", "tiny@5.0", "--reason", "look")).status == 0
    report = await shell.bundle("shadow", "--json")
    assert report.lines[-1]["judged"] == report.lines[-1]["differ"] == 0
    assert (await shell.bundle("shadow", "--stop", "--reason", "seen")).status == 0
