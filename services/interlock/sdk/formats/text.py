"""Markdown, plain text and JSON lines."""

import codecs
import json
import re
from collections.abc import Iterator

import yaml

from interlock.sdk.formats.about import About, Parsed, Unreadable, about

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
MAX_HEADING_CHARS = 500
"""What is longer is a paragraph: a heading stands with every passage below it."""

_MARKED = re.compile(r"^#{1,6}[ \t].*", re.MULTILINE)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decoded(data: bytes, encoding: str | None) -> str:
    """The text, by its mark, else by `encoding`, else as UTF-8; raises `Unreadable`."""
    known = next((name for mark, name in _MARKS if data.startswith(mark)), encoding or "utf-8")
    try:
        text = data.decode(known)
    except LookupError:
        raise Unreadable(f"there is no encoding {known!r}") from None
    except UnicodeDecodeError as error:
        raise Unreadable(
            f"not {known}: byte {error.start} does not fit; convert it, or name its encoding"
        ) from None
    if "\x00" in text:
        raise Unreadable("it holds NUL characters: not a text")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def markdown(data: bytes, encoding: str | None) -> Iterator[Parsed]:
    """Markdown with or without front matter; a first heading is the title."""
    text = decoded(data, encoding)
    front = About()
    found = _FRONT_MATTER.match(text)
    if found is not None:
        try:
            fields = yaml.safe_load(found.group(1)) or {}
        except RecursionError:
            raise
        except Exception as error:  # of a month 13, or `!!bool x`, PyYAML raises what Python does
            raise Unreadable(f"front matter: {' '.join(str(error).split())}") from None
        front, text = about(fields), text[found.end() :]
    yield Parsed(text, front.over(About(title=first_heading(text))))


def first_heading(text: str) -> str:
    """The first Markdown heading, or nothing."""
    found = (heading(line[0]) for line in _MARKED.finditer(text))
    return next((title for level, title in found if level), "")


def heading(line: str) -> tuple[int, str]:
    """Level and title of a line that is a Markdown heading, else (0, "").

    Hashes after a blank close it (`## Title ##`); others are the title's own (`# C#`). A line of
    more than `MAX_HEADING_CHARS` is none. No regular expression: one that strips both ends takes
    the cube of a run of blanks.
    """
    if len(line) > MAX_HEADING_CHARS:
        return 0, ""
    rest = line.lstrip("#")
    level = len(line) - len(rest)
    title = rest.strip()
    open_ = title.rstrip("#")
    if open_ != title and (not open_ or open_[-1] in " \t"):
        title = open_.rstrip()
    if not (1 <= level <= 6 and rest[:1] in (" ", "\t") and title):
        return 0, ""
    return level, title


def plain(data: bytes, encoding: str | None) -> Iterator[Parsed]:
    """Text as it is."""
    yield Parsed(decoded(data, encoding))


def json_lines(data: bytes, encoding: str | None) -> Iterator[Parsed | Unreadable]:
    """One document a line: `name` (or `id`), `text`, and what a document may say of itself."""
    for number, line in enumerate(decoded(data, encoding).split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield _line(line, f"line {number}")
        except Unreadable as error:
            yield Unreadable(f"line {number}: {error}")


def _line(line: str, where: str) -> Parsed:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        raise Unreadable("not JSON") from None
    if not isinstance(fields, dict):
        raise Unreadable("not a JSON object")
    name = fields.pop("name", None) or fields.pop("id", None)
    text = fields.pop("text", None)
    fields.pop("id", None)
    if not isinstance(name, str | int) or isinstance(name, bool) or not str(name).strip():
        raise Unreadable("a document needs a name (or id)")
    if not isinstance(text, str) or not text.strip():
        raise Unreadable("a document needs a text")
    return Parsed(text, about(fields), str(name), where)
