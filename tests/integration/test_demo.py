"""The demo as a newcomer runs it: a process of its own, on a broker and a shop of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "interlock.cli", "demo", "--json"]
SABOTAGED = """
import sys
from interlock.cli import main
from interlock.cli.demo import scenes
from interlock.cli.demo.world import Books
scenes.SCRIPTS = tuple(one for one in scenes.SCRIPTS if one.name == "once")
honest = Books.refunds
Books.refunds = lambda self, order=None: honest(self, order) * 2
sys.argv = ["interlock", "demo", "--json"]
main()
"""
CLAIMS = {
    "cited": [
        "an answer with its sources, each quote word for word from what was retrieved",
        "request, route, context, proposal, verdict, answer: each on the log, once",
    ],
    "once": [
        "the executor was killed after the effect and before its result was recorded",
        "submitted three times, taken once",
        "the refund was paid exactly once",
        "its result landed and the request was answered, once each",
    ],
    "reviewed": [
        "a refund above the limit waits for a person",
        "the requester's own approval is refused",
        "approved by a colleague, it ran, once",
    ],
    "stopped": [
        "stopped: a tool that does not exist",
        "stopped: bad arguments",
        "stopped: a refund beyond what the order paid",
        "stopped: a fabricated citation",
        "stopped: another tenant's document",
        "stopped: an instruction hidden in a document",
        "none of it reached the shop",
    ],
    "replayed": [
        "one request replayed: identical, without model, shop or broker",
        "a grant that was forged on the log is found and named",
    ],
    "audited": [
        "the audit store holds every event of the log, as signed",
        "one changed record is found and named",
    ],
}


@contextmanager
def started(temporary: Path, command: Sequence[str] = COMMAND) -> Iterator[subprocess.Popen[str]]:
    """The demo; whatever it keeps while it runs is below `temporary`."""
    environment = {
        **os.environ,
        "TMPDIR": str(temporary),
        "INTERLOCK_NATS_URL": "nats://127.0.0.1:1",  # of somebody's shell: must not matter
    }
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        try:
            yield demo
        finally:
            demo.terminate()  # a test that failed before the end; it cleans up by itself


def left_behind(temporary: Path) -> list[str]:
    """Files below `temporary`, and processes that were given a path in it."""
    found = [str(path) for path in temporary.iterdir()]
    wanted = str(temporary / "interlock-demo-").encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            given = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        except OSError:  # it has ended, or it is somebody else's
            continue
        if wanted in given:
            found.append(process.name)
    return found


def claims(scene: dict[str, Any]) -> list[str]:
    """What a scene claims and what held."""
    return [one["claim"] for one in scene["claims"] if one["ok"]]


def test_everything_claimed_happened(tmp_path: Path) -> None:
    with started(tmp_path) as demo:
        output, errors = demo.communicate(timeout=90)
    scenes = [json.loads(line) for line in output.splitlines()]
    assert {scene["scene"]: claims(scene) for scene in scenes} == CLAIMS, output + errors
    assert all(scene["ok"] for scene in scenes)
    assert all(claim["evidence"] for scene in scenes for claim in scene["claims"])
    assert (demo.returncode, errors) == (0, "")
    assert left_behind(tmp_path) == []


def test_a_refund_paid_twice_would_be_seen(tmp_path: Path) -> None:
    with started(tmp_path, [sys.executable, "-c", SABOTAGED]) as demo:
        output, _ = demo.communicate(timeout=90)
    (scene,) = (json.loads(line) for line in output.splitlines())
    assert demo.returncode == 1
    assert not scene["ok"]
    failed = [one for one in scene["claims"] if not one["ok"]]
    assert [one["claim"] for one in failed] == ["the refund was paid exactly once"]
    assert failed[0]["evidence"].endswith("$20.00, $20.00")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    with started(tmp_path) as demo:
        assert demo.stdout is not None
        first = json.loads(demo.stdout.readline())
        demo.send_signal(number)
        output, errors = demo.communicate(timeout=60)
    assert first["scene"] == "cited"
    assert "Traceback" not in errors
    assert demo.returncode == 130
    assert len(output.splitlines()) < len(CLAIMS)
    assert left_behind(tmp_path) == []
