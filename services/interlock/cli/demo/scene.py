"""A scene: what was asked, what happened, and claims that were checked, each with its evidence."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

WorldT = TypeVar("WorldT")


@dataclass(frozen=True, slots=True)
class Claim:
    """Something the demo says of the system; `ok` is what the check found.

    `shown` are other words for it within its scene.
    """

    text: str
    ok: bool
    evidence: str
    shown: str | None = None


@dataclass(slots=True)
class Scene:
    """One scene as it is being played."""

    name: str
    title: str
    lines: list[tuple[str, str]] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def tell(self, label: str, text: str) -> None:
        """One line: who or what (`maria`, `answer`, `log`), and what there is to say."""
        self.lines.append((label, text))

    def check(self, claim: str, ok: bool, evidence: str, *, shown: str | None = None) -> None:
        """A claim with what was found when it was looked up in the log or the database."""
        self.claims.append(Claim(claim, ok, evidence, shown))

    @property
    def ok(self) -> bool:
        """Whether all claims held; a scene that claims nothing has shown nothing."""
        return bool(self.claims) and all(claim.ok for claim in self.claims)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "scene": self.name,
            "title": self.title,
            "ok": self.ok,
            "seconds": round(self.seconds, 3),
            "requests": self.requests,
            "lines": [{"label": label, "text": text} for label, text in self.lines],
            "claims": [
                {"claim": claim.text, "ok": claim.ok, "evidence": claim.evidence}
                for claim in self.claims
            ],
        }


@dataclass(frozen=True, slots=True)
class Script(Generic[WorldT]):
    """A scene to play. `play` fills in the scene and raises when it cannot go on."""

    name: str
    title: str
    play: Callable[[WorldT, Scene], Awaitable[None]]


async def play_all(
    scripts: Sequence[Script[WorldT]], world: WorldT, show: Callable[[Scene], None]
) -> list[Scene]:
    """Play the scenes in order and show each; one that breaks off does not keep the next."""
    played: list[Scene] = []
    for script in scripts:
        scene = Scene(script.name, script.title)
        start = time.perf_counter()
        try:
            await script.play(world, scene)
        except Exception as error:  # whatever it was: the scene has not shown what it claims
            why = str(error) or "no reason given"
            scene.check("the scene came to its end", False, f"{type(error).__name__}: {why}")
        scene.seconds = time.perf_counter() - start
        played.append(scene)
        show(scene)
    return played


def exit_status(scenes: Sequence[Scene]) -> int:
    """0 if every scene showed what it claims, else 1."""
    return 0 if scenes and all(scene.ok for scene in scenes) else 1
