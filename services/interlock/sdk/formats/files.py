"""One file of any known format, read whole or refused."""

from collections.abc import Callable, Iterator
from pathlib import Path

from interlock.sdk.formats import office, text, web
from interlock.sdk.formats.about import Parsed, Unreadable

MAX_FILE_BYTES = 64 * 1024 * 1024
"""Larger files are refused unread."""

Parser = Callable[[bytes, str | None], Iterator[Parsed | Unreadable]]

_PARSERS: dict[str, Parser] = {
    ".md": text.markdown,
    ".markdown": text.markdown,
    ".txt": text.plain,
    ".jsonl": text.json_lines,
    ".html": web.html,
    ".htm": web.html,
    ".pdf": office.pdf,
    ".docx": office.docx,
}

SUFFIXES = tuple(_PARSERS)
"""What is read, by the ends of file names."""


def read_file(path: Path, *, encoding: str | None = None) -> list[Parsed | Unreadable]:
    """The documents of one file; of a file with many, `Unreadable` in the place of a bad one.

    `encoding` is that of text without a mark of its own (default UTF-8). Raises `Unreadable`.
    """
    parser = _PARSERS.get(path.suffix.lower())
    if parser is None:
        raise Unreadable(f"the format {path.suffix or 'without a suffix'!r} is not read")
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise Unreadable(f"{size / 2**20:.0f} MiB; at most {MAX_FILE_BYTES // 2**20} are read")
        found = list(parser(path.read_bytes(), encoding))
    except OSError as error:
        raise Unreadable(error.strerror or type(error).__name__) from None
    except (RecursionError, MemoryError) as error:
        raise Unreadable(f"{type(error).__name__} while reading it") from None
    if not any(isinstance(one, Unreadable) or one.text.strip() for one in found):
        raise Unreadable("there is no text in it")
    return found
