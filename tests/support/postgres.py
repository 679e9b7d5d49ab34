"""A real PostgreSQL, one for each process of the tests that wants it."""

import tempfile
from functools import cache
from importlib import import_module
from typing import Any

_started: list[Any] = []


@cache
def postgres_server() -> str:
    """The URL of this process's PostgreSQL, started when it is first wanted."""
    folder = tempfile.mkdtemp(prefix="interlock-pg-")
    server: Any = import_module("pgserver").get_server(folder, cleanup_mode="delete")
    _started.append(server)
    return str(server.get_uri())


def stop_servers() -> None:
    """Stop it and delete its files, when a session ends: workers may not come to `atexit`."""
    while _started:
        _started.pop().cleanup()
