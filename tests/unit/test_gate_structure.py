"""Output contracts: structured data, sections, language; each refused and, beside it, accepted."""

from collections.abc import Sequence
from typing import Any

import pytest
from tests.unit.gate_world import CHUNKS, ROUTE, World, changed_bundle, make_case, proposal, says

from interlock.bundles.model import Bundle, OutputContract
from interlock_contracts.failures import FailureArea
from interlock_contracts.failures import FailureCode as Code
from interlock_contracts.proposal import Proposal, Statement
from interlock_contracts.verdict import Decision, Violation

SCHEMA = {
    "type": "object",
    "properties": {
        "days": {"type": "integer", "minimum": 0},
        "limit": {"$ref": "#/$defs/Money"},
        "free": {"type": "boolean"},
    },
    "required": ["days"],
    "$defs": {
        "Money": {
            "type": "object",
            "properties": {"amount": {"type": "number"}, "currency": {"enum": ["EUR", "USD"]}},
            "required": ["amount"],
        }
    },
}
CITED = says("The limit is 500 EUR.", ("c1", "The limit is 500 EUR."))


def bundle(**contract: Any) -> Bundle:
    given = {"citations": "none"} | contract
    return changed_bundle(outputs={"default": OutputContract(**given).model_dump()})


async def found(of: Bundle, wanted: Proposal) -> list[tuple[Code, str]]:
    drafts = await World().judge(make_case(wanted, route=ROUTE), of)
    violations: Sequence[Violation] = drafts["verdict"].verdict.violations
    assert all(one.area is FailureArea.OUTPUT_CONTRACT for one in violations)
    return [(one.code, one.path) for one in violations]


def answer(*texts: str, data: dict[str, Any] | None = None) -> Proposal:
    return proposal(statements=tuple(Statement(text=text) for text in texts), data=data)


@pytest.mark.parametrize(
    ("data", "violations"),
    [
        ({"days": 5}, []),
        ({"days": 5, "limit": {"amount": 500.5, "currency": "EUR"}, "free": True}, []),
        (None, ["/data"]),
        ({}, ["/data"]),
        ({"days": "5"}, ["/data/days"]),
        ({"days": -1, "limit": {}}, ["/data/days", "/data/limit"]),
        ({"days": 5, "limit": {"amount": 1, "note": "x"}}, ["/data/limit"]),
        ({"days": 5, "more": 1}, ["/data"]),
    ],
)
async def test_data_fits_the_schema_strictly(
    data: dict[str, Any] | None, violations: list[str]
) -> None:
    got = await found(bundle(json_schema=SCHEMA), answer("Five days.", data=data))
    assert got == [(Code.DATA_INVALID, path) for path in violations]


async def test_data_nobody_asked_for_never_passes() -> None:
    assert await found(bundle(), answer("Yes.", data={"a": 1})) == [(Code.DATA_INVALID, "/data")]


async def test_a_structured_answer_goes_out_as_data_and_text() -> None:
    wanted = answer(data={"days": 5})
    drafts = await World().judge(make_case(wanted), bundle(json_schema=SCHEMA))
    assert (drafts["answer"].data, drafts["answer"].text) == ({"days": 5}, '{"days":5}')


async def test_data_stands_on_what_is_cited() -> None:
    """One made-up figure in the data is as bad as one in a sentence."""
    of = bundle(json_schema=SCHEMA, citations="every")
    good = proposal(statements=(CITED,), data={"days": 500})
    assert await found(of, good) == []
    made_up = proposal(statements=(CITED,), data={"days": 7})
    assert await found(of, made_up) == [(Code.VALUE_NOT_IN_SOURCE, "/data/days")]
    assert await found(of, proposal(data={"days": 500})) == [(Code.CITATION_MISSING, "/data")]


async def test_forbidden_content_and_length_reach_into_data() -> None:
    schema = {"type": "object", "properties": {"note": {"type": "string"}}}
    of = bundle(json_schema=schema, forbidden=("guarantee",), max_chars=60)
    assert await found(of, answer("Yes.", data={"note": "no promise"})) == []
    bad = answer("Yes.", data={"note": "We Guarantee it."})
    assert await found(of, bad) == [(Code.FORBIDDEN_CONTENT, "/data/note")]
    long = answer("Yes.", data={"note": "x " * 40})
    assert await found(of, long) == [(Code.LENGTH_EXCEEDED, "/statements")]


GOOD = "## Answer\nFive days.\n\n**Next steps**\n- Wait.\n\nContact: call us"
MISSING = [(Code.SECTION_MISSING, "/statements")]


@pytest.mark.parametrize(
    ("text", "violations"),
    [
        (GOOD, []),
        ("answer: five days\nnext  steps:\nwait\nCONTACT\nus", []),
        (GOOD.replace("**Next steps**", "Then"), MISSING),
        (GOOD.replace("- Wait.\n", ""), MISSING),
        (GOOD.replace(": call us", ":"), MISSING),
        ("Contact: us\nAnswer: five\nNext steps: wait", MISSING),
        ("The answer: five days. Next steps: wait. Contact: us", MISSING * 3),
    ],
)
async def test_sections_are_there_in_order_and_not_empty(
    text: str, violations: list[tuple[Code, str]]
) -> None:
    of = bundle(sections=("Answer", "Next steps", "Contact"))
    assert await found(of, answer(*text.split("\n\n"))) == violations


async def test_a_heading_needs_no_citation_and_what_is_below_does() -> None:
    of = bundle(sections=("Answer",), citations="every")
    heading = Statement(text="## Answer")
    assert await found(of, proposal(statements=(heading, CITED))) == []
    uncited = Statement(text="It is 500.")
    assert await found(of, proposal(statements=(heading, uncited))) == [
        (Code.CITATION_MISSING, "/statements/1")
    ]
    told = Statement(text="Answer: it is 500.")
    assert (Code.CITATION_MISSING, "/statements/0") in await found(of, answer(told.text))


ENGLISH = "You can return an unused item within sixty days of delivery."
GERMAN = "Sie können einen unbenutzten Artikel innerhalb von sechzig Tagen zurückgeben."
SPANISH = "Puede devolver un artículo sin usar en los sesenta días siguientes a la entrega."


@pytest.mark.parametrize(
    ("language", "texts", "paths"),
    [
        ("en", [ENGLISH], []),
        ("de", [GERMAN], []),
        ("es", [SPANISH], []),
        ("en", [GERMAN], ["/statements/0/text"]),
        ("de", [ENGLISH], ["/statements/0/text"]),
        ("en", [ENGLISH, SPANISH], ["/statements/1/text"]),
        # Too short to tell, unless there is enough of it.
        ("en", ["Ja."], []),
        ("de", ["A-1001: Ridgeline Pruner"], []),
        ("en", ["Ja, das geht schon.", "Das Paket ist da.", "Es kostet dann nichts."],
         ["/statements"]),
    ],
)  # fmt: skip
async def test_the_answer_is_in_the_language(
    language: str, texts: list[str], paths: list[str]
) -> None:
    got = await found(bundle(language=language), answer(*texts))
    assert got == [(Code.LANGUAGE_WRONG, path) for path in paths]


@pytest.mark.parametrize(("language", "ends"), [("en", "answered"), ("de", "refused")])
async def test_the_fallback_keeps_to_the_language_too(language: str, ends: str) -> None:
    of = bundle(language=language, fallback="extractive")
    long = [chunk.model_copy(update={"text": f"{ENGLISH} Refunds."}) for chunk in CHUNKS[:1]]
    spent = make_case(answer(SPANISH), text="Return an item?", chunks=long, step=2)
    drafts = await World().judge(spent, of)
    assert drafts["verdict"].verdict.decision is Decision.REFUSE
    assert drafts["answer"].status == ends
