"""Personal data: what is found, what is not, and that redaction can be undone exactly."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.bundles.patterns import PatternTimeout
from interlock.bundles.privacy import KINDS, PrivacySpec, Recogniser
from interlock.runtime.privacy import EVERYTHING, TooLong, detect, redact, redact_request
from interlock_contracts.ids import new_request_id
from interlock_contracts.privacy import conceal, restore, restore_json, values_in
from interlock_contracts.request import Principal, Request, Turn

NO_NAMES = PrivacySpec(kinds=tuple(kind for kind in KINDS if kind != "NAME"))


def kinds(text: str, *, names: bool = False) -> list[tuple[str, str]]:
    spec = EVERYTHING if names else NO_NAMES
    return [(one.kind, text[one.start : one.end]) for one in detect(text, spec)]


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
    employee = Recogniser(kind="EMPLOYEE", pattern=r"\bE-(\d{5})\b")
    redacted = redact("I am E-12345, e-12345", PrivacySpec(recognisers=(employee,)))
    assert redacted.text == "I am E-[EMPLOYEE_1], e-12345"
    assert redacted.values == {"[EMPLOYEE_1]": "12345"}


def test_a_recogniser_of_the_bundle_may_ask_for_a_checksum() -> None:
    luhn = Recogniser(kind="MEMBER", pattern=r"\bM\d{8}\b", checksum="luhn")
    mod97 = Recogniser(kind="CREDITOR", pattern=r"\bQ\d{6}\b", checksum="mod97")
    spec = PrivacySpec(kinds=(), recognisers=(luhn, mod97))
    text = "M79927398 M79927399 Q123459 Q123457 a@x.com"
    found = [text[one.start : one.end] for one in detect(text, spec)]
    assert found == ["M79927398", "Q123459"]


def test_what_the_bundle_allows_is_left_alone() -> None:
    text = "order 905-674-3790 or call 905-674-3793"
    assert redact(text, PrivacySpec()).text == "order [PHONE_1] or call [PHONE_2]"
    allowing = PrivacySpec(allow=(r"\border [\d-]+\b",))
    assert redact(text, allowing).text == "order 905-674-3790 or call [PHONE_1]"


def test_only_the_kinds_that_are_named_are_replaced() -> None:
    text = "12.3.2020, a@x.com and 905-674-3793"
    mail = PrivacySpec(kinds=("EMAIL",))
    assert redact(text, mail).text == "12.3.2020, [EMAIL_1] and 905-674-3793"
    # A date that nobody asked for is still no telephone number.
    assert redact(text, PrivacySpec()).text == "12.3.2020, [EMAIL_1] and [PHONE_1]"


def test_a_pattern_of_the_bundle_cannot_hang_the_service() -> None:
    hostile = Recogniser(kind="X", pattern=r"(a|aa|aaa)+$")
    with pytest.raises(PatternTimeout, match="took longer"):
        detect("a" * 10_000 + "b", PrivacySpec(recognisers=(hostile,)))


def test_equal_values_share_a_placeholder_also_in_a_later_turn() -> None:
    first = redact("a@x.com, b@x.com and a@x.com", NO_NAMES)
    assert first.text == "[EMAIL_1], [EMAIL_2] and [EMAIL_1]"
    later = redact("no, b@x.com or c@x.com", NO_NAMES, known=first.values)
    assert later.text == "no, [EMAIL_2] or [EMAIL_3]"


def test_findings_say_where_and_never_what() -> None:
    (found,) = redact("to a@x.com", NO_NAMES).findings
    assert (found.start, found.end, found.kind) == (3, 10, "EMAIL")
    assert "a@x.com" not in repr(found)


def test_a_placeholder_that_a_user_wrote_is_nobodys_value() -> None:
    redacted = redact("what is [EMAIL_1]? mine is a@x.com", NO_NAMES)
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


@settings(max_examples=150)
@given(TEXTS)
def test_redaction_can_be_undone_and_done_again_without_effect(text: str) -> None:
    redacted = redact(text)
    assert restore(redacted.text, redacted.values) == text
    again = redact(redacted.text, known=redacted.values)
    assert (again.text, again.values) == (redacted.text, redacted.values)
    assert redact(redacted.text).text == redacted.text


@settings(max_examples=100)
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


def request(text: str, *history: str) -> Request:
    return Request(
        request_id=new_request_id(),
        tenant="acme",
        principal=Principal(user="ana", role="customer"),
        text=text,
        history=tuple(Turn(role="user", text=one) for one in history),
    )


def test_a_request_keeps_its_placeholders_through_the_conversation() -> None:
    given = request("to a@x.com, not [EMAIL_1]", "I am b@x.com", "or a@x.com")
    done = redact_request(given, PrivacySpec())
    assert done.request.text == "to [EMAIL_3], not [EMAIL_1]"
    assert [turn.text for turn in done.request.history] == ["I am [EMAIL_2]", "or [EMAIL_3]"]
    assert done.values == {"[EMAIL_2]": "b@x.com", "[EMAIL_3]": "a@x.com"}
    assert [(one.turn, one.placeholder) for one in done.findings] == [
        (0, "[EMAIL_2]"),
        (1, "[EMAIL_3]"),
        (None, "[EMAIL_3]"),
    ]


@settings(max_examples=100)
@given(st.lists(TEXTS.filter(str.strip), min_size=1, max_size=3))
def test_whoever_has_the_request_can_put_the_values_back(texts: list[str]) -> None:
    try:
        given_request = request(*texts)
    except ValueError:  # a character that no request may have
        return
    done = redact_request(given_request, EVERYTHING)
    values = values_in(texts[0], texts[1:], done.findings)
    assert values == done.values
    assert restore(done.request.text, values) == texts[0]
    assert [restore(turn.text, values) for turn in done.request.history] == texts[1:]


def test_a_request_that_grows_too_long_is_said_to() -> None:
    with pytest.raises(TooLong, match="16,384"):
        redact_request(request(" ".join(f"::{number:x}" for number in range(2_500))), PrivacySpec())


def test_concealing_finds_values_as_words_and_where_they_were_cut_short() -> None:
    values = {"[EMAIL_1]": "ana@x.com", "[AGE_1]": "34", "[NAME_1]": "Ana"}
    assert conceal("to ana@x.com (34), not 134", values) == "to [EMAIL_1] ([AGE_1]), not 134"
    assert conceal("Anabel and Ana", values) == "Anabel and [NAME_1]"
    assert conceal("sent to ana@x…", values) == "sent to [EMAIL_1]…"
    assert conceal("as it is", {}) == "as it is"
