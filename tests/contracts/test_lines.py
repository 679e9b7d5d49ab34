"""Lines of CloudEvents: cut apart where their form allows it, with the result of reading all."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contracts.goldens import golden, golden_event

from interlock_contracts.event import Event, InvalidEvent

LINE = json.dumps(golden("approved"))
PIECES = st.sampled_from(
    [
        *'"\\{}[],: ',
        *("null", "NaN", "1e400", "-0", "1e15", "01", "\\ud800", "\\u0000", "\t", "\n", "\x7f"),
        *(', "data": {}', '"data":null,', ', "x": "y"', '"subject": "x", ', '\\"data\\":{'),
        *(
            '"tool": "create_refund", ',
            '"amount_cents": 1, ',
            "9007199254740993",
            "0.10000000000000001",
        ),
    ]
)


def outcome(line: str | bytes) -> str:
    """What came of reading: the event, told exactly, or why it is none."""
    try:
        return repr(Event.from_cloudevent(line))
    except InvalidEvent as error:
        return f"{error.code}: {error.message}"


@settings(max_examples=400)  # the first reason collects all field names
@given(st.lists(st.tuples(st.integers(0, len(LINE)), st.integers(0, 12), PIECES), max_size=3))
def test_a_line_cut_apart_reads_as_the_whole_line_does(edits: list[tuple[int, int, str]]) -> None:
    line = LINE
    for at, gone, piece in edits:
        line = line[:at] + piece + line[at + gone :]
    assert outcome(line.encode()) == outcome(line)  # text is always read as a whole


@pytest.mark.parametrize("indent", [None, 1])
def test_of_a_line_that_ends_with_its_data_only_the_attributes_are_parsed(
    indent: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = json.dumps(golden("approved"), indent=indent).encode()
    expected = golden_event("approved")
    parsed: list[str] = []

    def loads(text: str) -> object:
        parsed.append(text)
        return real(text)

    real = json.loads
    monkeypatch.setattr(json, "loads", loads)
    assert Event.from_cloudevent(line) == expected
    (head,) = parsed
    assert head.endswith('"data":null}')


def test_data_that_is_not_last_is_read_too() -> None:
    first = {"data": (whole := golden("approved")).pop("data")} | whole
    assert Event.from_cloudevent(json.dumps(first).encode()) == golden_event("approved")
