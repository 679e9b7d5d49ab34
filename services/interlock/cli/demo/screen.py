"""How the demo looks: panels on a terminal, plain lines elsewhere, JSON lines for machines."""

from collections.abc import Sequence
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.status import Status
from rich.table import Table
from rich.text import Text

from interlock.cli.common import print_json
from interlock.cli.demo.scene import Claim, Scene

WIDTH = 110
NEXT = (
    ("Keep it running", "interlock up"),
    ("Ask it something", 'interlock ask "How long can I return a spade?" --user maria'),
    ("Read on", "README.md, docs/, examples/support/README.md"),
)


class Screen(Protocol):
    """Where scenes are shown."""

    def begin(self) -> None:
        """Before anything else is loaded: says at once what is coming."""

    def progress(self, text: str) -> None:
        """What is being waited for just now."""

    def show(self, scene: Scene) -> None:
        """One scene, when it is over."""

    def end(self, scenes: Sequence[Scene], seconds: float) -> None:
        """All claims, and what to try next."""

    def close(self) -> None:
        """Give the terminal back; also after an interruption."""


class JsonScreen:
    """One JSON object a scene, and nothing else."""

    def begin(self) -> None:
        """Nothing: standard output is for scenes."""

    def progress(self, text: str) -> None:
        """Nothing."""

    def show(self, scene: Scene) -> None:
        """One line of JSON."""
        print_json(scene.as_json())

    def end(self, scenes: Sequence[Scene], seconds: float) -> None:
        """Nothing: each claim stands in its scene."""

    def close(self) -> None:
        """Nothing."""


class TextScreen:
    """For people. Without a terminal there are no frames, no spinner and no colours."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        if self._console.width > WIDTH:
            self._console.width = WIDTH
        self._live = self._console.is_terminal and not self._console.is_dumb_terminal
        self._status: Status | None = None
        self._shown = 0

    def begin(self) -> None:
        """Two lines of introduction."""
        self._console.print("[bold]Interlock[/]: the model proposes, the system disposes.")
        self._console.print(
            "A broker, six services and a small shop, on this machine only: "
            "no key, no network, nothing left behind."
        )
        self.progress("loading")

    def progress(self, text: str) -> None:
        """The spinner's words, or a line."""
        if not self._live:
            self._console.print(f"… {text}", markup=False)
        elif self._status is None:
            self._status = self._console.status(Text(text))
            self._status.start()
        else:
            self._status.update(Text(text))

    def show(self, scene: Scene) -> None:
        """What was asked and what happened, then what was checked."""
        self._shown += 1
        title = f"{self._shown}  {scene.title}"
        if not self._live:
            self._plain("", f"{title} ({scene.seconds:.1f} s)")
            self._plain(*(f"   {label:<9} {text}" for label, text in scene.lines))
            self._plain(*(f"   {_claim(claim).plain}" for claim in scene.claims))
            return
        panel = Panel(
            Group(_lines(scene.lines), *map(_claim, scene.claims)),
            title=Text(title, style="bold"),
            title_align="left",
            subtitle=Text(f"{scene.seconds:.1f} s", style="dim"),
            subtitle_align="right",
            border_style="green" if scene.ok else "red",
        )
        self._console.print(panel)

    def end(self, scenes: Sequence[Scene], seconds: float) -> None:
        """Every claim with its evidence; then three things to try."""
        self.close()
        claims = [claim for scene in scenes for claim in scene.claims]
        held = sum(claim.ok for claim in claims)
        self._plain("")
        if self._live:
            self._console.print(_table(claims))
        else:
            self._plain(*(f"{_mark(one).plain} {one.text} | {one.evidence}" for one in claims))
        style = "bold green" if held == len(claims) else "bold red"
        summary = Text(f"{held} of {len(claims)} claims held", style=style)
        self._plain("")
        self._console.print(Text.assemble(summary, f", {seconds:.1f} s in all"))
        self._plain("")
        self._plain(*(f"{what:<17} {how}" for what, how in NEXT))

    def _plain(self, *lines: str) -> None:
        """Lines as they are: not wrapped, nothing in them read as markup."""
        for line in lines:
            self._console.print(line, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Stop the spinner."""
        if self._status is not None:
            self._status.stop()
            self._status = None


def _lines(lines: Sequence[tuple[str, str]]) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(style="cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in lines:
        grid.add_row(Text(label), Text(text))
    return grid


def _mark(claim: Claim) -> Text:
    return Text("✔", style="green") if claim.ok else Text("✘", style="bold red")


def _claim(claim: Claim) -> Text:
    if claim.ok:
        return Text.assemble(_mark(claim), " ", claim.shown or claim.text)
    return Text.assemble(_mark(claim), " ", claim.text, (f": {claim.evidence}", "red"))


def _table(claims: Sequence[Claim]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1))
    table.add_column("")
    table.add_column("claimed", ratio=2, overflow="fold")
    table.add_column("found", ratio=3, overflow="fold")
    for claim in claims:
        table.add_row(_mark(claim), Text(claim.text), Text(claim.evidence, style="dim"))
    return table
