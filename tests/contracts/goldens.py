"""The committed golden examples, for the tests of this folder."""

import json
from pathlib import Path
from typing import Any

from interlock_contracts.event import Event

ROOT = Path(__file__).parents[2]
CONTRACTS = ROOT / "contracts"
EXAMPLES = CONTRACTS / "examples"
SCHEMAS = CONTRACTS / "schemas"


def golden(name: str) -> dict[str, Any]:
    """The golden CloudEvent of one event, as parsed JSON."""
    parsed: dict[str, Any] = json.loads((EXAMPLES / f"{name}.json").read_bytes())
    return parsed


def golden_event(name: str) -> Event:
    """The golden event, decoded."""
    return Event.from_cloudevent((EXAMPLES / f"{name}.json").read_bytes())


def wire(name: str) -> tuple[dict[str, str], bytes]:
    """The golden wire form: the NATS headers and the body."""
    head, _, body = (EXAMPLES / "wire" / f"{name}.nats").read_bytes().partition(b"\r\n\r\n")
    version, *lines = head.decode().split("\r\n")
    assert version == "NATS/1.0"
    headers = dict(line.split(": ", 1) for line in lines)
    return headers, body
