"""What if another model had answered: asked over HTTP by the parent, or scripted in a file."""

import asyncio
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.unit.models_wire import Json, Reply, Server, answer, serving

CASE = Path("tests/histories/v0.1/cited.tar.gz").resolve()
QUOTE = "You can return an unused item, such as a spade or a rake, within 60 days of delivery."

HOSTED = """
extends: bundle.yaml
version: "1.0.0-hosted"
models:
  default:
    candidates:
      - provider: openai
        model: m-large
        options: {key_env: SHOP_API_KEY, base_url: URL}
"""


async def what_if(*given: str) -> tuple[int, list[Json], str]:
    """`interlock replay CASE --with … --json`: status, what it found, and what it complained of."""
    swaps = [word for one in given for word in ("--with", one)]
    environment = {**os.environ, "SHOP_API_KEY": "sk-very-secret", "COLUMNS": "300"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "interlock.cli", "replay", str(CASE), *swaps, "--json",
        env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert b"very-secret" not in out + err
    assert b"Traceback" not in err, err.decode()
    assert process.returncode is not None
    return process.returncode, [json.loads(line) for line in out.splitlines()], err.decode()


def hosted(folder: Path, server: Server) -> str:
    """The example on a hosted model."""
    copy = folder / "support"
    shutil.copytree("examples/support", copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "hosted.yaml").write_text(HOSTED.replace("URL", server.url))
    return f"bundle={copy / 'hosted.yaml'}"


def cites(sent: Json) -> Reply:
    """An answer that cites what was retrieved."""
    prompt = sent["messages"][0]["content"]
    source = re.search(r'handle="(c[1-5])"[^\n]*\nYou can return an unused', prompt)
    assert source is not None, prompt
    citation = {"handle": source[1], "quote": QUOTE}
    said = {"statements": [{"text": "You have 60 days.", "citations": [citation]}]}
    return Reply(answer("openai", json.dumps(said | {"abstained": False})))


async def test_another_model_is_asked_by_the_parent(tmp_path: Path) -> None:
    async with serving(Reply({})) as server:
        server.answers = cites
        status, (found,), _ = await what_if(hosted(tmp_path, server), "model=openai:m-small")
        asked = [(headers["authorization"], sent["model"]) for _, headers, sent in server.seen]
    assert asked == [("Bearer sk-very-secret", "m-small")]
    assert found["after"]["result"] == "answered"
    assert found["after"]["text"] == "You have 60 days."
    assert (status, found["change"]) == (0, "wording")


async def test_a_model_that_cites_nothing_is_a_flip(tmp_path: Path) -> None:
    said = {"statements": [{"text": "For ever.", "citations": []}], "abstained": False}
    async with serving(Reply(answer("openai", json.dumps(said)))) as server:
        bundle = hosted(tmp_path, server)
        strict = Path(bundle.partition("=")[2]).with_name("bundle.yaml")
        strict.write_text(strict.read_text().replace("fallback: extractive", "fallback: refuse"))
        status, (found,), _ = await what_if(bundle, "model=openai:m-small")
        assert len(server.seen) > 1, "it was asked for a repair"
    assert (status, found["change"]) == (1, "flip")
    assert (found["before"]["status"], found["after"]["status"]) == ("answered", "refused")
    assert "citation_missing" in found["after"]["codes"]


async def test_no_model_is_asked_that_nobody_named(tmp_path: Path) -> None:
    async with serving(Reply({})) as server:
        status, (found,), _ = await what_if(hosted(tmp_path, server))
        assert server.seen == []
    assert (status, found["change"]) == (1, "cannot_evaluate")
    assert "--with model=PROVIDER:MODEL" in found["missing"]


async def test_a_model_that_does_not_answer_cannot_be_evaluated(tmp_path: Path) -> None:
    async with serving(Reply({"error": {"message": "no"}}, status=500)) as server:
        status, (found,), _ = await what_if(hosted(tmp_path, server), "model=openai:m-small")
    assert (status, found["change"]) == (1, "cannot_evaluate")
    assert "did not answer" in found["missing"]


def scripted(folder: Path, outputs: Any) -> str:
    """A file of outputs in the generator's place."""
    path = folder / "outputs.yaml"
    path.write_text(outputs if isinstance(outputs, str) else json.dumps(outputs))
    return f"stage.generator={path}"


async def test_scripted_outputs_stand_in_for_the_model(tmp_path: Path) -> None:
    forged = {"text": "Two years.", "citations": [{"handle": "c99", "quote": "two years"}]}
    said = {"statements": [forged], "calls": [], "abstained": False}
    status, (found,), _ = await what_if(
        scripted(tmp_path, [{"match": "unused item", "output": said}])
    )
    assert (status, found["change"]) == (0, "wording"), "the gate has the fallback answer instead"
    assert "Two years" not in found["after"]["text"]
    call = {"tool": "wire_transfer", "arguments": {"iban": "DE0"}}
    said = {"statements": [], "calls": [call], "abstained": False}
    status, (found,), _ = await what_if(
        scripted(tmp_path, [{"match": "unused item", "output": said}])
    )
    decisions = [one["decision"] for one in found["after"]["actions"]]
    assert decisions == ["repair", "repair", "refuse"]
    assert (status, found["change"]) == (1, "flip")


async def test_what_is_not_scripted_is_as_it_was(tmp_path: Path) -> None:
    status, (found,), _ = await what_if(
        scripted(tmp_path, [{"match": "wheelbarrow", "output": "no JSON"}])
    )
    assert (status, found["change"]) == (0, "same")


@pytest.mark.parametrize(
    ("content", "told"),
    [("match: [", "a list of"), ("[{match: x}]", "a list of"), ("text", "a list of")],
)
async def test_a_file_of_no_outputs_is_refused(tmp_path: Path, content: str, told: str) -> None:
    status, found, err = await what_if(scripted(tmp_path, content))
    assert (status, found) == (1, [])
    assert told in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "given",
    ["stage.generator=/no/such/file", "model=openai", "stage.nobody=a:b", "stage.retriever=no.x:y",
     "nothing"],
)  # fmt: skip
async def test_what_cannot_be_replaced_is_refused(given: str) -> None:
    status, found, err = await what_if(given)
    assert (status, found) == (1, [])
    assert len(err.splitlines()) == 1, err
