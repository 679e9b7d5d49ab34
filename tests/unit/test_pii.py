"""Personal data: what is found, what is not, and that redaction can be undone exactly."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.runtime.privacy import Custom, detect, redact, restore, restore_json


def kinds(text: str, *, names: bool = False) -> list[tuple[str, str]]:
    return [(one.kind, text[one.start : one.end]) for one in detect(text, names=names)]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("write to ana.b+x@example.co.uk, please", "EMAIL", "ana.b+x@example.co.uk"),
        ("card 4111 1111 1111 1111 was charged", "CARD", "4111 1111 1111 1111"),
        ("card 4111111111111111.", "CARD", "4111111111111111"),
        ("to DE89370400440532013000 now", "IBAN", "DE89370400440532013000"),
        ("to DE89 3704 0044 0532 0130 00 now", "IBAN", "DE89 3704 0044 0532 0130 00"),
        ("mistyped DE00370400440532013000", "IBAN", "DE00370400440532013000"),
        ("my ssn is 460-89-9847", "SSN", "460-89-9847"),
        ("from 106.31.73.20 today", "IP", "106.31.73.20"),
        ("from 2001:db8::8a2e:370:7334 today", "IP", "2001:db8::8a2e:370:7334"),
        ("call +46 (0)8 928 571 38", "PHONE", "+46 (0)8 928 571 38"),
        ("call 905-674-3793 now", "PHONE", "905-674-3793"),
        ("call 99 668472", "PHONE", "99 668472"),
        ("see https://www.example.se/a?b=1", "URL", "https://www.example.se/a?b=1"),
        ("born 2/8/1935 there", "DATE", "2/8/1935"),
        ("he is 79 years old", "AGE", "79"),
    ],
)
def test_what_is_found(text: str, kind: str, value: str) -> None:
    assert (kind, value) in kinds(text)


@pytest.mark.parametrize(
    "text",
    [
        "where is order A-1001",
        "refund $45.50 please",
        "version 1.2.3 of the app",
        "the ratio is 3:2",
        "a@b is no address",
        "it is 12:30 now",
        "I would like to return it",
    ],
)
def test_what_is_left_alone(text: str) -> None:
    assert kinds(text, names=True) == []


def test_a_number_that_fails_its_checksum_is_no_card() -> None:
    assert "CARD" not in [kind for kind, _ in kinds("number 4111111111111112")]
    assert "IP" not in [kind for kind, _ in kinds("number 999.1.1.1")]
    assert "SSN" not in [kind for kind, _ in kinds("number 666-12-1234")]


def test_names_are_capitalised_words_that_are_no_ordinary_ones() -> None:
    text = "Please tell Krisztián Szöllösy in Kenosha. The parcel arrived."
    assert kinds(text, names=True) == [("NAME", "Krisztián Szöllösy"), ("NAME", "Kenosha")]
    assert kinds(text) == []


def test_the_bundle_may_add_recognisers() -> None:
    custom = (Custom("EMPLOYEE", r"\bE-(\d{5})\b"),)
    redacted = redact("I am E-12345", custom, names=False)
    assert redacted.text == "I am E-[EMPLOYEE_1]"
    assert redacted.values == {"[EMPLOYEE_1]": "12345"}


def test_equal_values_share_a_placeholder_also_in_a_later_turn() -> None:
    first = redact("a@x.com, b@x.com and a@x.com", names=False)
    assert first.text == "[EMAIL_1], [EMAIL_2] and [EMAIL_1]"
    later = redact("no, b@x.com or c@x.com", names=False, known=first.values)
    assert later.text == "no, [EMAIL_2] or [EMAIL_3]"


def test_findings_say_where_and_never_what() -> None:
    (found,) = redact("to a@x.com", names=False).findings
    assert (found.start, found.end, found.kind) == (3, 10, "EMAIL")
    assert "a@x.com" not in repr(found)


def test_a_placeholder_that_a_user_wrote_is_nobodys_value() -> None:
    redacted = redact("what is [EMAIL_1]? mine is a@x.com", names=False)
    assert redacted.text == "what is [EMAIL_1]? mine is [EMAIL_2]"
    assert restore(redacted.text, redacted.values) == "what is [EMAIL_1]? mine is a@x.com"


def test_arguments_of_an_action_get_the_values_back() -> None:
    values = {"[EMAIL_1]": "a@x.com"}
    given_arguments = {"to": "[EMAIL_1]", "cc": ["x [EMAIL_1]", 3, None], "n": {"a": "[EMAIL_9]"}}
    assert restore_json(given_arguments, values) == {
        "to": "a@x.com",
        "cc": ["x a@x.com", 3, None],
        "n": {"a": "[EMAIL_9]"},
    }


VALUES = (
    "a@x.com",
    "4111 1111 1111 1111",
    "DE89370400440532013000",
    "+46 8 928 571 38",
    "Ana",
    "Mr. Kovač",
    "12.3.2020",
    "106.31.73.20",
    "905-674-3793",
    "10115 ",
    "E",
)
BETWEEN = ("[EMAIL_1]", "[NAME_2]", "[", "]", "_1]", " ", "\n", "the ", "order ", "I am ")
PIECES = st.sampled_from(VALUES + BETWEEN)
TEXTS = st.one_of(st.lists(PIECES, max_size=12).map("".join), st.text(max_size=80))


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_redaction_can_be_undone_and_done_again_without_effect(text: str) -> None:
    redacted = redact(text)
    assert restore(redacted.text, redacted.values) == text
    again = redact(redacted.text, known=redacted.values)
    assert (again.text, again.values) == (redacted.text, redacted.values)
    assert redact(redacted.text).text == redacted.text


@settings(max_examples=100, deadline=None)
@given(TEXTS)
def test_findings_are_in_order_within_the_text_and_apart(text: str) -> None:
    end = 0
    for one in detect(text):
        assert end <= one.start < one.end <= len(text)
        end = one.end


@pytest.mark.parametrize(
    "text", ["1 " * 5_000, "A" * 10_000, "A. " * 3_000, "a@" * 5_000, ":" * 9_000]
)
def test_hostile_texts_are_read_in_reasonable_time(text: str) -> None:
    assert restore((found := redact(text)).text, found.values) == text
