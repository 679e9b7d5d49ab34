"""Reading the files a bundle is written in: YAML with line numbers, tools, text files."""

import importlib.util
import sys
import traceback
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

import yaml

from interlock.bundles.errors import BundleError
from interlock_contracts.tools import ToolArguments, ToolSpec, tool_spec

Location = tuple[str | int, ...]
"""Where a value stands in a bundle: the keys and indices that lead to it."""

_TOOLS_MODULE = "_interlock_bundle_tools"


@dataclass(frozen=True, slots=True)
class Source:
    """A bundle's YAML as plain data, and the `file:line` each value was read from."""

    file: str
    data: dict[str, Any]
    places: dict[Location, str] = field(default_factory=dict)

    def place(self, location: Location) -> str:
        """The nearest known place of `location`; the file, where none is known."""
        known = (
            self.places[location[:length]]
            for length in range(len(location), -1, -1)
            if location[:length] in self.places
        )
        return next(known, self.file)

    def problem(self, location: Location, message: str) -> str:
        """`message` with the place of `location`, and the keys that lead there."""
        place, path = self.place(location), ".".join(str(part) for part in location)
        return f"{place}: {path}: {message}" if path else f"{place}: {message}"


def read_source(file: Path) -> Source:
    """Read a bundle's YAML file; with `extends: other.yaml`, over what that one says.

    Keys of the extending file replace those of the other; where both are mappings they are
    merged one level deep.

    Raises:
        BundleError: no such file, no YAML, no mapping, a key given twice.
    """
    source = _read_yaml(file)
    if "extends" not in source.data:
        return source
    extended = source.data.pop("extends")
    if not isinstance(extended, str) or Path(extended).name != extended:
        message = "give the name of a YAML file in the same folder"
        raise BundleError([source.problem(("extends",), message)])
    base = _read_yaml(file.parent / extended)
    if "extends" in base.data:
        message = f"{extended} extends another file itself; only one level is possible"
        raise BundleError([source.problem(("extends",), message)])
    data: dict[str, Any] = dict(base.data)
    for key, value in source.data.items():
        below = data.get(key)
        both = isinstance(value, dict) and isinstance(below, dict)
        data[key] = below | value if both else value
    return Source(source.file, data, base.places | source.places)


def _read_yaml(file: Path) -> Source:
    text = _read_text(file)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{file.name}:{mark.line + 1}" if mark else file.name
        raise BundleError([f"{place}: not valid YAML: {error.problem}"]) from error
    except (yaml.YAMLError, ValueError) as error:  # of a month 13 PyYAML raises what Python does
        raise BundleError([f"{file.name}: not valid YAML: {error}"]) from error
    if not isinstance(data, dict) or root is None:
        raise BundleError([f"{file.name}: a bundle is a mapping of keys to values"])
    places: dict[Location, str] = {}
    twice: list[str] = []
    _note_places(root, (), file.name, places, twice)
    if twice:
        raise BundleError(twice)
    return Source(file.name, data, places)


def _note_places(
    node: yaml.Node, location: Location, file: str, places: dict[Location, str], twice: list[str]
) -> None:
    places.setdefault(location, f"{file}:{node.start_mark.line + 1}")
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = (*location, str(key.value))
            place = f"{file}:{key.start_mark.line + 1}"
            if below in places:
                path = ".".join(map(str, below))
                twice.append(f"{place}: {path}: this key was given before; remove one")
            places[below] = place
            _note_places(value, below, file, places, twice)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _note_places(item, (*location, index), file, places, twice)


def read_texts(folder: Path, suffix: str) -> dict[str, str]:
    """The text files with `suffix` directly in `folder`, by file name; {} without the folder.

    Raises:
        BundleError: a file that cannot be read, or is not UTF-8.
    """
    return {file.name: _read_text(file) for file in sorted(folder.glob(f"*{suffix}"))}


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise BundleError([f"{file}: cannot be read ({reason})"]) from error


class _FreshLoader(SourceFileLoader):
    """Compiles from the source each time: a byte-code cache may be older than the file."""

    def get_code(self, fullname: str) -> CodeType | None:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def read_tools(file: Path) -> dict[str, ToolSpec]:
    """The tool contracts of a `tools.py`, by tool name, in the order they are defined.

    The file is imported under a private name that is gone afterwards; only data is kept.

    Raises:
        BundleError: the file fails when it is imported, or two tools have one name.
    """
    if not file.is_file():
        return {}
    loader = _FreshLoader(_TOOLS_MODULE, str(file))
    spec = importlib.util.spec_from_loader(_TOOLS_MODULE, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    # Pydantic looks a class's module up there to resolve its annotations.
    sys.modules[_TOOLS_MODULE] = module
    try:
        loader.exec_module(module)
    except Exception as error:
        raise BundleError([_import_problem(file, error)]) from error
    finally:
        del sys.modules[_TOOLS_MODULE]
    tools: dict[str, ToolSpec] = {}
    for value in vars(module).values():
        if not isinstance(value, type) or not issubclass(value, ToolArguments):
            continue
        if value.__module__ != _TOOLS_MODULE or value.__dict__.get("__interlock_tool__") is None:
            continue
        tool = tool_spec(value)
        if tool.name in tools:
            raise BundleError([f"{file.name}: {tool.name}: two tools have this name; rename one"])
        tools[tool.name] = tool
    return tools


def _import_problem(file: Path, error: Exception) -> str:
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(file)
    ]
    line = error.lineno if isinstance(error, SyntaxError) else (lines[-1] if lines else None)
    place = file.name if line is None else f"{file.name}:{line}"
    first = str(error).partition("\n")[0]
    return f"{place}: cannot be imported: {type(error).__name__}: {first}"
