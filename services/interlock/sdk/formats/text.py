"""Markdown, plain text and JSON lines."""

import codecs
import json
import re
from collections.abc import Iterator

import yaml

from interlock.sdk.formats.about import About, Parsed, Unreadable, about

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t]*#*\s*$", re.MULTILINE)
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
        except yaml.YAMLError as error:
            raise Unreadable(" ".join(str(error).split())) from None
        front, text = about(fields), text[found.end() :]
    yield Parsed(text, front.over(About(title=first_heading(text))))


def first_heading(text: str) -> str:
    """The first Markdown heading, or nothing."""
    found = _HEADING.search(text)
    return found.group(1) if found else ""


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
