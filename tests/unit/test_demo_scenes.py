"""The demo's own honesty: no ✔ without a check, and no success beside a failed one."""

import re
from collections.abc import Awaitable, Callable
from io import StringIO

import pytest
from rich.console import Console

from interlock.cli.demo.scene import Scene, Script, exit_status, play_all
from interlock.cli.demo.screen import JsonScreen, TextScreen

ESCAPE = "\x1b["
Play = Callable[[None, Scene], Awaitable[None]]


async def holds(_world: None, scene: Scene) -> None:
    scene.tell("maria", "asks for [bold]nothing[/]")
    scene.check("water is wet", True, "looked at it")


async def does_not_hold(_world: None, scene: Scene) -> None:
    scene.check("water is wet", True, "looked at it")
    scene.check("paid exactly once", False, "2 rows [not 1]")


async def breaks_off(_world: None, scene: Scene) -> None:
    scene.check("water is wet", True, "looked at it")
    raise RuntimeError("the answer did not come")


async def claims_nothing(_world: None, scene: Scene) -> None:
    scene.tell("maria", "asks")


def script(play: Play) -> Script[None]:
    return Script("scene", "A scene", play)


@pytest.mark.parametrize(
    ("plays", "status"),
    [
        ([holds], 0),
        ([holds, holds], 0),
        ([holds, does_not_hold], 1),
        ([does_not_hold, holds], 1),
        ([breaks_off, holds], 1),
        ([claims_nothing], 1),
        ([holds, claims_nothing], 1),
        ([], 1),
    ],
)
async def test_the_exit_status_is_that_of_the_worst_scene(plays: list[Play], status: int) -> None:
    played = await play_all([script(play) for play in plays], None, lambda _: None)
    assert exit_status(played) == status


async def test_a_scene_that_breaks_off_fails_and_the_next_is_played() -> None:
    shown: list[Scene] = []
    await play_all([script(breaks_off), script(holds)], None, shown.append)
    assert [scene.ok for scene in shown] == [False, True]
    assert shown[0].claims[-1].evidence == "RuntimeError: the answer did not come"


async def test_a_failed_claim_is_shown_as_one_with_its_evidence() -> None:
    for terminal in (False, True):
        text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", await told(terminal=terminal))
        assert "✘ paid exactly once: 2 rows [not 1]" in text
        assert "✔ paid exactly once" not in text
        assert "1 of 2 claims held" in text


async def test_without_a_terminal_there_are_plain_lines() -> None:
    text = await told(terminal=False)
    assert ESCAPE not in text
    assert "╭" not in text


async def test_words_of_users_are_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    for screen in (TextScreen(Console(file=None, width=100)), JsonScreen()):
        await play_all([script(holds)], None, screen.show)
        assert "[bold]nothing[/]" in capsys.readouterr().out


async def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    assert f"{ESCAPE}32m" in await told(terminal=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert f"{ESCAPE}32m" not in await told(terminal=True)


async def told(*, terminal: bool) -> str:
    """What a screen writes of one scene in which a claim failed."""
    file = StringIO()
    screen = TextScreen(Console(file=file, force_terminal=terminal, width=100, highlight=False))
    screen.begin()
    scenes = await play_all([script(does_not_hold)], None, screen.show)
    screen.end(scenes, 1.0)
    return file.getvalue()
