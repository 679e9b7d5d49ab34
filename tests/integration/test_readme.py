"""The README is run: its first feature, command by command, in an empty folder."""

import os
import re
import signal
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
BLOCKS = re.findall(r"```bash\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def without_comments(block: str) -> str:
    return re.sub(r"\s{2,}# .*$", "", block, flags=re.MULTILINE)


def commands(block: str) -> list[str]:
    return [line for line in without_comments(block).splitlines() if line.startswith("interlock")]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("INTERLOCK_")}
    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "PATH": path, "COLUMNS": "200"}


def shell(
    command: str, folder: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euc", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def running(tmp_path: Path, environment: dict[str, str]) -> Iterator[Path]:
    """What the second and third block make: a bundle, and a system that runs it."""
    made = shell(without_comments(BLOCKS[1]), tmp_path, environment)
    assert made.returncode == 0, made.stderr
    assert "ask" in made.stdout
    up = commands(BLOCKS[2])[0]
    assert up.startswith("interlock up") and up.endswith("&")
    process = subprocess.Popen(
        up.removesuffix("&").split(),
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert "Interlock is up" in process.stdout.readline()
        yield tmp_path
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=40)
    assert process.returncode == 0


def test_the_two_commands_come_first() -> None:
    assert [line.split("#")[0].strip() for line in BLOCKS[0].splitlines()] == [
        "make demo",
        "make test",
    ]


def test_the_first_feature(running: Path, environment: dict[str, str]) -> None:
    asked, refused = commands(BLOCKS[2])[1:]
    answer = shell(asked, running, environment)
    assert answer.returncode == 0
    assert "$15.00" in answer.stdout and "answered" in answer.stdout
    found = re.search(r"request (\w{26})", answer.stderr)
    assert found is not None
    no = shell(refused, running, environment)
    assert no.returncode == 1
    assert "routing/out_of_scope" in no.stdout
    expected = {"events": "proposal", "replay": "identical", "audit": "verified"}
    after = [line.replace("REQUEST_ID", found[1]) for line in commands(BLOCKS[3])]
    assert [line.split()[1] for line in after] == list(expected)
    for line, said in zip(after, expected.values(), strict=True):
        done = shell(line, running, environment)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout


def test_every_link_leads_somewhere() -> None:
    pages = [README, *README.parent.glob("docs/**/*.md"), README.parent / "bench/README.md"]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
