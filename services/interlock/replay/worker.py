"""A replay process: takes requests from its parent, runs them again, hands back what it found.

It has no connection, no credential, no key and an empty environment. The one way out is to ask
its parent, over the pipe, for a bundle, or for what a what-if was told to run live.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from interlock.bundles.errors import BundleError, BundleUnknown
from interlock.bundles.model import Bundle
from interlock.replay.message import LogMessage
from interlock.replay.sandbox import shut_in
from interlock.replay.tasks import Task, task_of
from interlock.replay.wire import read_down, write_up
from interlock.runtime.errors import RetryLater
from interlock.runtime.garbage import settle_garbage_collection
from interlock_contracts.failures import FailureCode
from interlock_contracts.request import Request

Ask = Callable[[str, Any], Any]
"""Asks the parent: what kind of thing, and which."""


class AskedBundles:
    """The bundles of the parent, by digest; a `Bundles` of `interlock.runtime.stage`."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._known: dict[str, Bundle] = {}

    def active(self, request: Request | None = None) -> Bundle:  # noqa: ARG002
        """The one that is active now, for what the log names none of."""
        text = self._ask("bundle", None)
        if text is None:
            raise RetryLater(FailureCode.BUNDLE_UNKNOWN, "the log names no bundle")
        return Bundle.model_validate_json(text)

    async def get(self, digest: str) -> Bundle:
        """The bundle with this digest; raises `BundleUnknown`."""
        known = self._known.get(digest)
        if known is None:
            text = self._ask("bundle", digest)
            if text is None:
                raise BundleUnknown(digest)
            known = self._known[digest] = Bundle.model_validate_json(text)
            if known.digest != digest:
                raise BundleError([f"{known.digest} was given for {digest}"])
        return known


def main() -> None:
    """Serve until the parent closes the pipe. The one argument is the configuration, in JSON."""
    config = json.loads(sys.argv[1])
    source, sink = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):  # what a stage prints goes nowhere, and cannot break a frame
        os.dup2(null, standard)

    def ask(kind: str, what: Any) -> Any:
        write_up(sink, {"ask": kind, "what": what})
        return read_down(source)

    with asyncio.Runner() as runner:
        runner.get_loop()  # it needs a pair of sockets: made before there are none
        try:
            layers = shut_in(config["private"])
            task = runner.run(task_of(config, AskedBundles(ask), ask))
        except Exception as error:
            write_up(sink, {"broken": f"{type(error).__name__}: {error}"})
            return
        write_up(sink, {"ready": layers})
        _serve(runner, task, source, sink)


def _serve(runner: asyncio.Runner, task: Task, source: int, sink: int) -> None:
    settled = False
    while (jobs := read_down(source)) is not None:
        for request_id, messages in jobs:
            entries = [LogMessage.unpacked(one).entry() for one in messages]
            found = runner.run(task(request_id, entries))
            write_up(sink, {"request_id": request_id, **found})
        if not settled:  # what the first made (classifiers, schemas, policies) stays
            settle_garbage_collection()
            settled = True
    os._exit(0)


if __name__ == "__main__":
    main()
