"""Finding a team's executor by name."""

import importlib
import sys
from pathlib import Path

from interlock.runtime.errors import UserError
from interlock.sdk.executor import ToolExecutor


def load_executor(reference: str) -> ToolExecutor:
    """The executor at `package.module:name`: a `ToolExecutor`, or a function that makes one.

    Modules are looked for in the current folder too. Raises `UserError`.
    """
    module_name, colon, name = reference.partition(":")
    if not colon:
        raise UserError(f"{reference!r} is not of the form package.module:name")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"no tools at {reference}: {error}") from None
    executor = found() if callable(found) and not isinstance(found, ToolExecutor) else found
    if not isinstance(executor, ToolExecutor):
        raise UserError(f"{reference} is no ToolExecutor and makes none")
    return executor
