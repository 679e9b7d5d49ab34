"""Frames between a replay's parent and its worker processes: four bytes of length, then a body.

Down go `marshal` frames: the parent is trusted, and bodies of messages are bytes. Up comes JSON
only: what runs in a worker may be hostile, and JSON cannot run anything in the parent.
"""

import asyncio
import json
import marshal
import os
import struct
from typing import Any

MAX_FRAME = 256 * 1024 * 1024


def down(value: Any) -> bytes:
    """A frame for a worker."""
    body = marshal.dumps(value)
    return struct.pack(">I", len(body)) + body


def up(value: Any) -> bytes:
    """A frame for the parent."""
    body = json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass")
    return struct.pack(">I", len(body)) + body


def read_down(handle: int) -> Any:
    """The next frame from the parent; None when it has closed the pipe."""
    head = _exactly(handle, 4)
    if head is None:
        return None
    body = _exactly(handle, struct.unpack(">I", head)[0])
    return None if body is None else marshal.loads(body)  # noqa: S302 — from the parent


def write_up(handle: int, value: Any) -> None:
    """Send a frame to the parent."""
    frame = memoryview(up(value))
    while frame:
        frame = frame[os.write(handle, frame) :]


async def read_up(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """The next frame from a worker; None when it has ended, or speaks no sense."""
    try:
        (size,) = struct.unpack(">I", await reader.readexactly(4))
        if size > MAX_FRAME:
            return None
        value = json.loads((await reader.readexactly(size)).decode("utf-8", "surrogatepass"))
    except (asyncio.IncompleteReadError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _exactly(handle: int, size: int) -> bytes | None:
    parts = []
    while size:
        part = os.read(handle, min(size, 1 << 20))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
