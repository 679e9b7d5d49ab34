"""Documents below the paths that somebody names: read, checked, told apart."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import Progress

from interlock.cli.common import err

if TYPE_CHECKING:
    from interlock.sdk.formats import About, Parsed, Unreadable
    from interlock_contracts.documents import Document


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Found:
    """One document that was read; `where` in the file, for one that holds many."""

    path: str
    document: "Document"
    text: str
    where: str = ""

    def saying(self, reason: str) -> str:
        """What is wrong with it, with its place in the file."""
        return ": ".join(filter(None, (self.where, reason)))


@dataclass(slots=True)
class Summary:
    """What became of everything that was looked at."""

    counts: Counter[str] = field(default_factory=Counter)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    similar: list[tuple[str, str, float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Reading:
    """What is said of all documents alike; `encoding` is that of text that does not say."""

    tenant: str
    source: str
    about: "About"
    encoding: str | None = None

    def of(self, paths: list[Path], summary: Summary) -> list[Found]:
        """Every document of every file; what cannot be read goes to the summary instead."""
        from interlock.sdk.formats import Unreadable

        found: dict[str, Found] = {}
        files = list(_files(paths, summary))
        with Progress(console=err, transient=True, disable=not err.is_terminal) as progress:
            for path, name in progress.track(files, description="reading"):
                where = shown(path)
                for one in self._of_file(path, name):
                    if isinstance(one, Unreadable):
                        summary.skipped.append((where, str(one)))
                    elif one.document.name in found:
                        other = found[one.document.name]
                        place = ", ".join(filter(None, (other.path, other.where)))
                        reason = f"{place} is called {one.document.name!r}, too"
                        summary.skipped.append((where, one.saying(reason)))
                    else:
                        found[one.document.name] = one
        return list(found.values())

    def _of_file(self, path: Path, name: str) -> "Iterator[Found | Unreadable]":
        from interlock.sdk.formats import Unreadable, read_file

        wrong = _wrong(name)
        if wrong is not None:
            yield Unreadable(wrong)
            return
        try:
            parsed = read_file(path, encoding=self.encoding)
        except Unreadable as error:
            parsed = [error]
        for one in parsed:
            yield one if isinstance(one, Unreadable) else self._found(one, name, shown(path))

    def _found(self, parsed: "Parsed", name: str, where: str) -> "Found | Unreadable":
        """The document under the contract, or what it breaks."""
        from pydantic import ValidationError

        from interlock.sdk.formats import Unreadable
        from interlock_contracts.documents import MAX_DOCUMENT_CHARS, Document

        said = parsed.about.over(self.about)
        name = parsed.name or name
        fields = {key: getattr(said, key) for key in type(said).model_fields}
        fields["title"] = said.title or name.rpartition("/")[2]
        wrong = _wrong(name)
        if len(parsed.text) > MAX_DOCUMENT_CHARS:
            wrong = (
                f"{len(parsed.text):,} characters of text; a document has at most "
                f"{MAX_DOCUMENT_CHARS:,}: split it"
            )
        if wrong is not None:
            return Unreadable(": ".join(filter(None, (parsed.where, wrong))))
        try:
            document = Document(tenant=self.tenant, source=self.source, name=name, **fields)
        except ValidationError as error:
            detail = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, detail["loc"])) or "document"
            message = detail["msg"].removeprefix("Value error, ")
            return Unreadable(": ".join(filter(None, (parsed.where, place, message))))
        return Found(where, document, parsed.text, parsed.where)


def shown(path: Path) -> str:
    """A path as text on one line, whatever bytes its name is of."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def similar(found: list[Found]) -> list[tuple[str, str, float]]:
    """Pairs of documents that are nearly the same, with the share they have in common."""
    from interlock.sdk.similar import near_duplicates

    pairs = near_duplicates([one.text for one in found])
    return [(found[a].document.name, found[b].document.name, share) for a, b, share in pairs]


def _files(paths: list[Path], summary: Summary) -> Iterator[tuple[Path, str]]:
    """Each file with the name its document gets.

    What is hidden, and folders that are links, are left alone; a link that leads out of the folder
    that was named, and a folder that cannot be opened, are skipped aloud.
    """
    for path in paths:
        if path.is_file():
            yield path, path.stem
            continue
        root = path.resolve()
        for below in sorted(_below(path, summary)):
            try:
                inside = below.resolve().is_relative_to(root)
            except (OSError, RuntimeError):  # links in a circle: reading it says what is wrong
                inside = True
            if inside:
                yield below, below.relative_to(path).with_suffix("").as_posix()
            else:
                reason = f"leads out of the folder, to {shown(below.resolve())}"
                summary.skipped.append((shown(below), reason))


def _below(path: Path, summary: Summary) -> Iterator[Path]:
    from interlock.sdk.formats import SUFFIXES

    def closed(error: OSError) -> None:
        reason = error.strerror or type(error).__name__
        summary.skipped.append((shown(Path(error.filename)), reason))

    for folder, inner, files in os.walk(path, onerror=closed):
        inner[:] = [name for name in inner if not name.startswith(".")]
        for name in files:
            file = Path(folder, name)
            if name.startswith(".") or file.suffix.lower() not in SUFFIXES:
                continue
            if file.is_file() or file.is_symlink():  # a link to nothing is said to be one
                yield file


def _wrong(name: str) -> str | None:
    """What keeps a name from being a document's, beyond its length."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    if _CONTROL.search(name):
        return "its name has control characters"
    return None
