"""Collections made of documentation that is installed with Interlock: NumPy's, SciPy's, Python's.

Nothing is downloaded. Figures change a little with the versions.
"""

import ast
import inspect
import re
import sysconfig
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

from bench.retrieval.collections import SHORTEST, Judged, drawn
from bench.retrieval.datasets import document
from interlock.retriever.documents import Document

NUMPY = {"numpy": "numpy", **{name: f"numpy.{name}" for name in ("linalg", "fft", "random", "ma")}}
SCIPY = {
    name: f"scipy.{name}"
    for name in (
        "cluster", "fft", "integrate", "interpolate", "io", "linalg", "ndimage", "optimize",
        "signal", "sparse", "sparse.csgraph", "sparse.linalg", "spatial", "spatial.distance",
        "special", "stats", "stats.mstats", "stats.qmc",
    )
}  # fmt: skip

_SECTION = re.compile(r"^(.+)\n-{3,}\s*$", re.MULTILINE)
_DIRECTIVE = re.compile(r"^\.\. .*$", re.MULTILINE)


def numpy_summaries() -> Judged:
    """The first paragraph of an entry of NumPy's asks for the rest of it."""
    return _summaries((name, *_halves(text)) for name, text in sorted(_entries(NUMPY).items()))


def python_summaries() -> Judged:
    """The same of modules, classes and functions of Python's standard library."""
    return _summaries(_python())


def related_by_summary() -> Judged:
    """The first paragraph of an entry of SciPy's asks for those it refers to; not for itself."""
    return _related(lambda one: one.title)


def related_by_entry() -> Judged:
    """A whole entry asks for those it refers to: queries as long as documents."""
    return _related(lambda one: f"{one.title}\n{one.text}")


LIBRARIES: dict[str, Callable[[], Judged]] = {
    "NumPy: summary → entry": numpy_summaries,
    "Python: summary → entry": python_summaries,
    "SciPy: summary → related": related_by_summary,
    "SciPy: entry → related": related_by_entry,
}


def _summaries(entries: Iterator[tuple[str, str, str]]) -> Judged:
    documents, queries = [], []
    for name, summary, rest in entries:
        if len(rest) >= SHORTEST and 30 <= len(summary) <= 300:
            documents.append(document(name, "", rest))
            queries.append((" ".join(summary.split()), frozenset({name})))
    return Judged(documents, drawn(queries))


def _related(ask: Callable[[Document], str]) -> Judged:
    entries = {name: _sections(text) for name, text in _entries(SCIPY).items()}
    documents: dict[str, Document] = {}
    named: dict[str, str] = {}
    for name, sections in sorted(entries.items()):
        title, rest = _halves(sections[""])
        text = _DIRECTIVE.sub("", f"{rest}\n\n{sections.get('Notes', '')}").strip()
        if len(text) >= SHORTEST:
            documents[name] = document(name, " ".join(title.split()), text)
            named.setdefault(name.rpartition(".")[2], name)
    queries, own = [], {}
    for name, one in documents.items():
        referred = {named.get(each) for each in _references(entries[name].get("See Also", ""))}
        relevant = frozenset(each for each in referred if each is not None and each != name)
        if relevant:
            queries.append((ask(one), relevant))
            own[ask(one)] = name
    return Judged(list(documents.values()), drawn(queries), own)


def _references(see_also: str) -> Iterator[str]:
    """The names that stand at the beginnings of lines, before a colon."""
    for line in see_also.splitlines():
        if line and not line.startswith(" "):
            for name in re.split(r"[,\s]+", line.partition(":")[0]):
                yield name.strip("`").rpartition(".")[2]


def _halves(text: str) -> tuple[str, str]:
    """The first paragraph, and the rest."""
    first, _, rest = text.partition("\n\n")
    return first, rest


def _sections(text: str) -> dict[str, str]:
    """The parts of an entry by their headings; what comes first by none."""
    first, *rest = _SECTION.split(text)
    named = zip(rest[::2], rest[1::2], strict=True)
    return {"": first.strip(), **{name.strip(): body.strip() for name, body in named}}


@cache
def _texts(module: str) -> dict[str, str]:
    """What the public functions and classes of a module say of themselves."""
    with warnings.catch_warnings():
        # Names that will be gone say so when they are looked at.
        warnings.simplefilter("ignore")
        found = import_module(module)
        members = {name: getattr(found, name) for name in dir(found) if not name.startswith("_")}
    texts = {
        name: getattr(member, "__doc__", None)
        for name, member in members.items()
        if not isinstance(member, ModuleType)
    }
    return {name: inspect.cleandoc(text) for name, text in texts.items() if isinstance(text, str)}


def _entries(modules: dict[str, str]) -> dict[str, str]:
    """Entries by name, each text once."""
    entries: dict[str, str] = {}
    seen: set[str] = set()
    for prefix, module in modules.items():
        for name, text in _texts(module).items():
            # Compiled functions begin with their signature.
            cleaned = re.sub(r"\A\s*\w+\(.*?\)\s*\n\n", "", text, count=1, flags=re.DOTALL).strip()
            if cleaned not in seen:
                seen.add(cleaned)
                entries[f"{prefix}.{name}"] = cleaned
    return entries


def _python() -> Iterator[tuple[str, str, str]]:
    """(name, summary, rest) of what has a docstring in the modules at the top; read, not run."""
    seen: set[str] = set()
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                continue
            summary, rest = _halves(ast.get_docstring(node) or "")
            if rest and rest not in seen:
                seen.add(rest)
                yield f"{path.stem}.{len(seen)}", summary, rest
