"""The two pieces of the wire protocol that are ours: headers out and headers in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.runtime.broker.connect import header_block, parse_header_lines

NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,20}", fullmatch=True)
VALUES = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=40)


@given(st.dictionaries(NAMES, VALUES, max_size=12))
def test_what_is_sent_is_what_is_read(headers: dict[str, str]) -> None:
    block = header_block(headers)
    version, _, rest = block.partition(b"\r\n")
    assert version == b"NATS/1.0"
    assert parse_header_lines(rest) == headers


@pytest.mark.parametrize("value", ["a\r\nce-id: forged", "a\nb", "a\rb"])
def test_a_header_cannot_carry_another_one(value: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        header_block({"traceparent": value})


@pytest.mark.parametrize("name", ["a\r\nb", "a\nb"])
def test_nor_can_the_name_of_one(name: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        header_block({name: "x"})
