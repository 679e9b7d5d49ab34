"""Finding a team's executor."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from interlock.runtime.errors import UserError
from interlock.runtime.settings import Settings
from interlock.sdk.executor import ToolExecutor

CONVENTION = "executor.py"
"""The file of a bundle's folder whose `executor` runs its tools, unless the settings say other."""


def load_executor(settings: Settings) -> ToolExecutor:
    """The executor that the settings name, else the bundle folder's, else one without tools.

    Modules are looked for in the current folder too. Raises `UserError`.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    folder = settings.bundle if settings.bundle.is_dir() else settings.bundle.parent
    if settings.tools is not None:
        module_name, colon, name = settings.tools.partition(":")
        if not colon:
            raise UserError(f"{settings.tools!r} is not of the form package.module:name")
        reference = settings.tools
    elif (folder / CONVENTION).is_file():
        module_name, name, reference = "", "executor", str(folder / CONVENTION)
    else:
        return ToolExecutor()
    try:
        module = importlib.import_module(module_name) if module_name else _from_file(reference)
        found = getattr(module, name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"no tools at {reference}: {error}") from None
    executor = found() if callable(found) and not isinstance(found, ToolExecutor) else found
    if not isinstance(executor, ToolExecutor):
        raise UserError(f"{reference} is no ToolExecutor and makes none")
    return executor


def _from_file(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("_interlock_executor", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
