"""Canonical JSON against the vectors of RFC 8785, and the digests taken over it."""

import json
import math
import struct
from enum import IntEnum, StrEnum
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock_contracts.actions import effect_key
from interlock_contracts.canonical import canonical_json, digest, digest_bytes
from interlock_contracts.failures import FailureCode, failure

SAFE = 2**53 - 1
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-SAFE, SAFE)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)

# RFC 8785, appendix B: IEEE 754 bits and their text.
NUMBERS = [
    ("0000000000000000", "0"),
    ("8000000000000000", "0"),
    ("0000000000000001", "5e-324"),
    ("8000000000000001", "-5e-324"),
    ("7fefffffffffffff", "1.7976931348623157e+308"),
    ("ffefffffffffffff", "-1.7976931348623157e+308"),
    ("4340000000000000", "9007199254740992"),
    ("c340000000000000", "-9007199254740992"),
    ("4430000000000000", "295147905179352830000"),
    ("44b52d02c7e14af5", "9.999999999999997e+22"),
    ("44b52d02c7e14af6", "1e+23"),
    ("44b52d02c7e14af7", "1.0000000000000001e+23"),
    ("444b1ae4d6e2ef4e", "999999999999999700000"),
    ("444b1ae4d6e2ef4f", "999999999999999900000"),
    ("444b1ae4d6e2ef50", "1e+21"),
    ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
    ("3eb0c6f7a0b5ed8d", "0.000001"),
    ("41b3de4355555553", "333333333.3333332"),
    ("41b3de4355555554", "333333333.33333325"),
    ("41b3de4355555555", "333333333.3333333"),
    ("41b3de4355555556", "333333333.3333334"),
    ("41b3de4355555557", "333333333.33333343"),
    ("becbf647612f3696", "-0.0000033333333333333333"),
    ("43143ff3c1cb0959", "1424953923781206.2"),
]


@pytest.mark.parametrize(("bits", "text"), NUMBERS)
def test_numbers_are_written_as_the_rfc_says(bits: str, text: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical_json(number) == text.encode()


def test_the_example_of_the_rfc() -> None:
    """RFC 8785 §3.2.2 and §3.2.4."""
    source = r"""{
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }"""
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical_json(json.loads(source)) == expected.encode()


def test_members_are_sorted_by_utf_16_code_unit() -> None:
    """RFC 8785 §3.2.3; U+1F600 sorts before U+FB33 there, and after it by code point."""
    source = {
        "\u20ac": "Euro Sign",
        "\r": "Carriage Return",
        "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One",
        "\U0001f600": "Emoji: Grinning Face",
        "\u0080": "Control",
        "\u00f6": "Latin Small Letter O With Diaeresis",
    }
    assert list(json.loads(canonical_json(source)).values()) == [
        "Carriage Return",
        "One",
        "Control",
        "Latin Small Letter O With Diaeresis",
        "Euro Sign",
        "Emoji: Grinning Face",
        "Hebrew Letter Dalet With Dagesh",
    ]


def test_control_characters_are_escaped_the_one_way() -> None:
    text = "".join(map(chr, range(0x20))) + '\x7f"\\/'
    escapes = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r"}
    expected = "".join(escapes.get(code, f"\\u{code:04x}") for code in range(0x20))
    assert canonical_json(text) == f'"{expected}\x7f\\"\\\\/"'.encode()


@given(VALUES)
def test_what_is_written_reads_back_as_the_same_value(value: Any) -> None:
    # RFC 8785 numbers are doubles: a float beyond 2^53 is written without a point or exponent.
    assert json.loads(canonical_json(value), parse_int=float) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_keeps_all_its_bits_but_the_sign_of_zero(number: float) -> None:
    read = float(canonical_json(number))
    assert read == number
    assert math.copysign(1, read) == math.copysign(1, number) or number == 0


@given(st.dictionaries(TEXT, VALUES, min_size=2, max_size=6), st.randoms())
def test_digests_do_not_depend_on_the_order_of_members(value: dict[str, Any], chance: Any) -> None:
    items = list(value.items())
    chance.shuffle(items)
    assert digest(dict(items)) == digest(value)
    arguments = dict(items)
    assert effect_key("acme", "R", "t", arguments) == effect_key("acme", "R", "t", value)


def test_an_effect_key_tells_everything_apart_that_makes_an_effect() -> None:
    base = ("acme", "R", "create_refund", {"a": 1})
    others = [("umbra", *base[1:]), ("acme", "S", *base[2:]), ("acme", "R", "cancel", {"a": 1})]
    others.append(("acme", "R", "create_refund", {"a": 2}))
    assert len({effect_key(*base), *(effect_key(*other) for other in others)}) == 5


def test_models_and_the_digest_of_bytes() -> None:
    made = failure(FailureCode.OVERSIZE, "too big")
    expected = b'{"area":"runtime","code":"oversize","message":"too big"}'
    assert canonical_json(made) == expected
    assert canonical_json([made]) == b"[" + expected + b"]"
    assert digest(made) == digest_bytes(expected)
    assert digest_bytes(b"") == (
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )


class Level(IntEnum):
    HIGH = 3


class Word(StrEnum):
    YES = "yes"


def test_subclasses_of_json_types_are_written_as_their_values() -> None:
    assert canonical_json([Level.HIGH, Word.YES, np.float64(0.5)]) == b'[3,"yes",0.5]'


def _deep(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (math.nan, ValueError),
        (math.inf, ValueError),
        (SAFE + 1, ValueError),
        (-SAFE - 1, ValueError),
        ("\ud800", ValueError),
        ({"\udfff": 1}, ValueError),
        (_deep(100_000), ValueError),
        ({1: "a"}, TypeError),
        ({1, 2}, TypeError),
        (b"bytes", TypeError),
        (object(), TypeError),
    ],
    ids=lambda case: type(case).__name__,
)
def test_what_json_cannot_carry_exactly_is_refused(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        canonical_json(value)
