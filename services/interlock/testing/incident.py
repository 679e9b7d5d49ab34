"""A case file as a regression test: it replays as it ran, and ends as it should under a bundle."""

import asyncio
from pathlib import Path

from interlock.bundles.compile import compile_bundle
from interlock.replay.case import read_case
from interlock.replay.simulate import Simulation
from interlock.replay.verify import verify_request
from interlock.replay.whatif import Setup, WhatIf


class Incident:
    """One exported request. Raises `UserError` for a file that is no case, or was changed."""

    def __init__(self, path: Path) -> None:
        self.case = read_case(path)

    def divergences(self) -> list[str]:
        """What does not come out of the stages as it was recorded, in words; empty: identical."""
        entries = [one.entry() for one in self.case.messages]
        found = asyncio.run(verify_request(entries, self.case))
        return [str(one) for one in found.divergences]

    def under(self, bundle: Path | str | None = None) -> Simulation:
        """What would come of the request under a bundle (a folder); None: the one it ran on."""
        setup = Setup() if bundle is None else Setup(bundle=compile_bundle(Path(bundle)))
        entries = [one.entry() for one in self.case.messages]
        return asyncio.run(WhatIf(self.case, None).run(entries, setup))
