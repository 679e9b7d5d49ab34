"""National identifiers: each by its check, weak forms only beside a word, hardly a false alarm."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.bundles.privacy import PrivacySpec
from interlock.runtime.privacy import detect, redact
from interlock.runtime.privacy.national import national_ids
from interlock.runtime.privacy.national_ids import NATIONAL_IDS
from interlock_contracts.privacy import restore

SPEC = PrivacySpec(kinds=("NATIONAL_ID",))

# Country, a text with an identifier, and the same identifier with a fault in it. The numbers are
# the examples of the authorities' and of python-stdnum's documentation.
EXAMPLES = [
    ("AR", "soy 20-05536168-2", "20-05536168-3"),
    ("AT", "SV-Nr 1237 010180", "2237 010180"),
    ("AU", "medicare 2123 45670 1", "2123 45671 1"),
    ("AU", "my TFN: 123 456 782", "123 456 783"),
    ("BE", "ik ben 85.07.30-033.28", "85.07.30-033.29"),
    ("BG", "ЕГН 8032056031", "8032056032"),
    ("BR", "empresa 16.727.230/0001-97", "16.727.230/0001-98"),
    ("BR", "sou 390.533.447-05", "390.533.447-06"),
    ("CA", "SIN 123-456-782", "123-456-783"),
    ("CH", "ich bin 756.9217.0769.85", "756.9217.0769.84"),
    ("CL", "RUT 12.531.909-2", "12.531.909-3"),
    ("CN", "我是 360426199101010071", "360426199101010072"),
    ("CZ", "jsem 710319/2745", "710319/2746"),
    ("DE", "ich bin 36 574 261 809", "36 574 261 890"),
    ("DK", "jeg er 211062-5629", "211362-5629"),
    ("DO", "cédula 224-0002211-1", "224-0002211-2"),
    ("EC", "cédula 171430710-3", "171430710-4"),
    ("EE", "isikukood 36805280109", "36805280108"),
    ("ES", "soy 54362315-K", "54362315-Z"),
    ("ES", "soy X2482300W", "X2482300A"),
    ("FI", "olen 131052-308T", "131052-308U"),
    ("FR", "je suis 2 95 10 99 126 111 93", "2 95 10 99 126 111 94"),
    ("GB", "my NHS number is 943 476 5870", "943 476 5871"),
    ("GB", "my NI number is AB 12 34 56 C", "BG 12 34 56 C"),
    ("GB", "UTR 1955839661", "2955839661"),
    ("GR", "ΑΜΚΑ 01013099997", "01013099999"),
    ("HK", "HKID A123456(3)", "A123456(4)"),
    ("HR", "OIB 33392005961", "33392005962"),
    ("IE", "I am 6433435OA", "6433435VH"),
    ("IL", "israeli ID 03933742-3", "03933742-2"),
    ("IN", "aadhaar 2341 2341 2346", "2341 2341 2347"),
    ("IN", "PAN ACUPA7085R", "ABMXA3211G"),
    ("IS", "ég er 120174-3399", "320174-3399"),
    ("IT", "sono rccmnl83s18d969h", "rccmnl83s18d969i"),
    ("JP", "マイナンバー: 6214 9832 0257", "6214 9832 0258"),
    ("KR", "저는 971013-9019902", "971013-9019903"),
    ("LT", "asmens kodas 33309240064", "33309240164"),
    ("LV", "personas kods 161175-19997", "161375-19997"),
    ("MX", "soy BOXW310820HNERXN09", "BOXW310820HNERXN08"),
    ("MY", "saya 770305-02-1234", "771305-02-1234"),
    ("NL", "BSN 111222333", "111252333"),
    ("NO", "jeg er 151086 95088", "151086 95077"),
    ("NZ", "IRD 49-098-576", "49-098-577"),
    ("PK", "CNIC 34201-0891231-8", "94201-0891231-8"),
    ("PL", "PESEL 44051401359", "44051401358"),
    ("PT", "contribuinte 501 964 843", "501 964 842"),
    ("RO", "CNP 1630615123457", "1630615123458"),
    ("SE", "jag är 880320-0016", "880320-0018"),
    ("SG", "I am S1234567D", "S1234567E"),
    ("SI", "EMŠO 0101006500006", "0101006500007"),
    ("TH", "thai ID 1-2345-45678-78-1", "1-2345-45678-78-9"),
    ("TR", "kimlik no 17291716060", "17291716050"),
    ("UA", "РНОКПП 1759013776", "1759013770"),
    ("US", "ITIN 912 90 3456", "912 93 4567"),
    ("ZA", "I am 7503305044089", "8503305044089"),
]


def found(text: str) -> list[str]:
    return [text[one.start : one.end] for one in detect(text, SPEC)]


@pytest.mark.parametrize(("country", "text", "wrong"), EXAMPLES)
def test_an_identifier_is_found_by_its_check(country: str, text: str, wrong: str) -> None:
    value = text[-len(wrong) :]
    assert found(f"{text}, thank you.") == [value]
    assert found(f"{text[: -len(wrong)]}{wrong}, thank you.") == []
    assert any(one.country == country and one.check(value) for one in NATIONAL_IDS)


def test_every_identifier_has_its_example() -> None:
    assert len(EXAMPLES) == len([one for one in NATIONAL_IDS if one.kind == "NATIONAL_ID"])
    for one in NATIONAL_IDS:
        values = [
            text[-len(wrong) :] for country, text, wrong in EXAMPLES if country == one.country
        ]
        assert one.kind == "SSN" or any(one.check(value) for value in values), one


@pytest.mark.parametrize(
    "text",
    [
        "my order 123456782 has not come",  # Luhn's check, as a Canadian number has
        "order number 9434765870",
        "order 2341 2341 2346",
        "invoice 36805280109 of May",
        "tracking 234123412346",
        "sku AB123456C",
        "a nationality, 123456782 and more",
    ],
)
def test_a_weak_form_without_a_word_near_it_is_left_alone(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "my national insurance number is AB123456C",
        "national id: 36805280109",
        "123456782 is my tax file number",
        "personal identity number 9434765870",
        "steuerliche Identifikationsnummer 36574261809",
    ],
)
def test_a_word_on_either_side_makes_a_weak_form_count(text: str) -> None:
    assert len(found(text)) == 1


def test_a_word_far_away_does_not() -> None:
    assert found("my TFN is secret. " + "We talked of other things. " * 4 + "123456782") == []


def test_a_part_of_a_longer_number_is_none() -> None:
    assert found("TFN 123 456 782 123") == []
    assert found("TFN 123 123 456 782") == []
    assert found("CPF 1.390.533.447-05") == []
    assert found("sono XRCCMNL83S18D969H") == []
    assert found("DNI nr.54362315K, DNI:54362315K, (54362315K)") == ["54362315K"] * 3
    assert found("v1.54362315K, A-54362315K, 54362315K.com, x/54362315K") == []


def test_a_long_text_of_nothing_else_is_read_in_reasonable_time() -> None:
    assert len(found("my NHS number is 943 476 5870. " * 3_000)) == 3_000
    assert found("943 476 5870 " * 7_000) == []


def test_a_us_number_without_dashes_counts_beside_its_name() -> None:
    spec = PrivacySpec(kinds=("SSN",))
    assert redact("ssn 460899847", spec).text == "ssn [SSN_1]"
    assert redact("social security number 460 89 9847", spec).text == (
        "social security number [SSN_1]"
    )
    assert redact("order 460899847, ssn unknown to me and to you", spec).values == {
        "[SSN_1]": "460899847"
    }
    assert redact("order 460899847", spec).values == {}


def test_identifiers_are_looked_for_unless_the_bundle_says_otherwise() -> None:
    assert redact("soy 54362315-K", PrivacySpec()).text == "soy [NATIONAL_ID_1]"
    mail = PrivacySpec(kinds=("EMAIL",))
    assert redact("soy 54362315-K", mail).text == "soy 54362315-K"
    allowing = PrivacySpec(allow=(r"\bpart \d{8}-[A-Z]\b",))
    assert redact("part 54362315-K", allowing).values == {}


def test_an_identifier_that_nobody_asked_for_takes_nothing_from_a_card() -> None:
    both = "card 373593334485490"  # passes Luhn's check and France's
    assert redact(both, PrivacySpec(kinds=("CARD",))).text == "card [CARD_1]"
    assert redact(both, SPEC).text == "card [NATIONAL_ID_1]"


def test_each_country_checks_for_itself() -> None:
    """Denmark takes any date, so that only the check itself tells of Iceland's digit."""
    iceland = next(one for one in NATIONAL_IDS if one.country == "IS")
    assert iceland.check("120174-3399")
    assert not iceland.check("120174-3389")
    for country, _, wrong in EXAMPLES:
        assert not any(one.check(wrong) for one in NATIONAL_IDS if one.country == country), wrong


def drawn(form: str, rng: random.Random) -> str:
    letters = {"9": "0123456789", "A": "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
    return "".join(rng.choice(letters.get(c, c)) for c in form)


@pytest.mark.parametrize("form", sorted({f.rstrip("?") for o in NATIONAL_IDS for f in o.forms}))
def test_a_random_text_of_a_form_is_hardly_ever_taken(form: str) -> None:
    """Of plain digits fewer than 1 in 100, with letters or separators fewer than 1 in 20."""
    rng = random.Random(form)
    taken = sum(bool(list(national_ids(f"order {drawn(form, rng)}"))) for _ in range(1_000))
    assert taken < 1_000 * (0.01 if set(form) == {"9"} else 0.05)
    # And with a word no check stumbles, whatever it is given.
    assert all(
        list(national_ids(f"national id {drawn(form, rng)}")) is not None for _ in range(200)
    )


@settings(max_examples=200)
@given(
    st.lists(
        st.sampled_from([text for _, text, _ in EXAMPLES] + [" ", ", ", "\n", "1", "A", "[X_1]"]),
        max_size=8,
    ).map("".join)
)
def test_redaction_can_be_undone_and_done_again_without_effect(text: str) -> None:
    redacted = redact(text, PrivacySpec())
    assert restore(redacted.text, redacted.values) == text
    assert redact(redacted.text, PrivacySpec()).text == redacted.text


def test_the_docs_list_every_identifier() -> None:
    page = Path(__file__).parents[2] / "docs/how-to/keep-personal-data-in.md"
    text = page.read_text(encoding="utf-8")
    for one in (one for one in NATIONAL_IDS if one.kind == "NATIONAL_ID"):
        assert any(
            line.startswith(f"| {one.country} |") and one.name in line for line in text.splitlines()
        ), one
