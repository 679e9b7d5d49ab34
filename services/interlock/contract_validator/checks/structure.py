"""Has the answer the form its contract asks for: structured data, sections, language?"""

from collections.abc import Iterator, Mapping, Sequence

import jsonschema_rs

from interlock.bundles.language import chance
from interlock.bundles.model import OutputContract
from interlock.contract_validator.checks.arguments import compile_schema, schema_errors
from interlock.contract_validator.checks.matching import Needle, Text
from interlock.contract_validator.checks.text import leaves, pointer
from interlock_contracts.failures import FailureCode
from interlock_contracts.proposal import Proposal
from interlock_contracts.verdict import Violation, violation

LETTERS = 40
"""Texts with fewer letters are not told apart by language: names and numbers are most of them."""

LEAST_CHANCE = 0.05
"""A text is refused when it is less likely than this in the contract's language. Of messages of
40 to 80 letters in eleven languages at most 0.3 % were refused in their own, and at most 3 % (of
the nearest relatives; else under 1 %) passed as English."""

Data = jsonschema_rs.Draft202012Validator | None
"""What the structured answer must fit; None where there is to be none."""


def compile_data(contract: OutputContract) -> Data:
    """The contract's schema, closed to undeclared members; `ValueError` where it is none."""
    return None if contract.json_schema is None else compile_schema(contract.json_schema)


def check_structure(
    proposal: Proposal, contract: OutputContract, schema: Data, texts: Mapping[str, str]
) -> list[Violation]:
    """data_invalid, section_missing and language_wrong; citation_missing and
    value_not_in_source for the data. `texts` is what handles name."""
    return [
        *_data(proposal, schema),
        *_grounded(proposal, contract, texts),
        *_sections(proposal, contract.sections),
        *_language(proposal, contract),
    ]


def _data(proposal: Proposal, schema: Data) -> Iterator[Violation]:
    if schema is None and proposal.data is None:
        return
    if schema is None:
        message = "no structured answer is wanted here"
        yield violation(FailureCode.DATA_INVALID, "/data", message)
    elif proposal.data is None:
        message = "the structured answer is missing"
        yield violation(FailureCode.DATA_INVALID, "/data", message)
    else:
        for path, message in schema_errors(schema, proposal.data):
            yield violation(FailureCode.DATA_INVALID, pointer("data", *path), message)


def _grounded(
    proposal: Proposal, contract: OutputContract, texts: Mapping[str, str]
) -> Iterator[Violation]:
    """Data stands on what the statements beside it cite: its figures must be in there."""
    if proposal.data is None or contract.citations == "none":
        return
    cited = {one.handle for said in proposal.statements for one in said.citations}
    if not cited:
        message = "no statement cites what the structured answer is from"
        yield violation(FailureCode.CITATION_MISSING, "/data", message)
    elif contract.citations == "every":
        sources = [Text(text) for handle, text in texts.items() if handle in cited]
        for path, value in leaves(proposal.data):
            if not _has_figure(value):
                continue
            needle = Needle(value)
            if not any(source.find(needle) for source in sources):
                message = "this value stands in nothing the answer cites"
                at = pointer("data", *path)
                yield violation(FailureCode.VALUE_NOT_IN_SOURCE, at, message)


def _has_figure(value: object) -> bool:
    if isinstance(value, str):
        return any(map(str.isdigit, value))
    return isinstance(value, int | float) and not isinstance(value, bool)


def _sections(proposal: Proposal, wanted: Sequence[str]) -> Iterator[Violation]:
    """Sections that are missing, out of order, or have nothing below them."""
    if not wanted:
        return
    found = dict.fromkeys(wanted, False)
    order: list[str] = []
    for line in proposal.text.splitlines():
        here = next(((name, rest) for name in wanted for rest in _below(line, name)), None)
        if here is not None:
            order += [here[0]] if here[0] not in order else []
            found[here[0]] |= bool(here[1])
        elif order and line.strip():
            found[order[-1]] = True
    for name in wanted:
        if name not in order:
            yield _section(f"there is no section {name!r}")
        elif not found[name]:
            yield _section(f"the section {name!r} is empty")
    if order != [name for name in wanted if name in order]:
        yield _section(f"the sections come in the order: {', '.join(wanted)}")


def _section(message: str) -> Violation:
    return violation(FailureCode.SECTION_MISSING, "/statements", message)


def is_heading(text: str, sections: Sequence[str]) -> bool:
    """Whether a statement is but the heading of a section: nothing that could be cited."""
    return any(rest == "" for name in sections for rest in _below(text, name))


def _below(line: str, name: str) -> Iterator[str]:
    """What follows in the line of a heading; nothing is yielded where it is none.

    A heading is its name alone, as Markdown or with a colon, or before what follows the colon.
    """
    bare = " ".join(line.strip().lstrip("#").replace("**", "").replace("__", "").split())
    wanted = " ".join(name.split()).casefold()
    if bare.casefold().rstrip(":").rstrip() == wanted:
        yield ""
    elif bare.casefold().startswith(f"{wanted}:"):
        yield bare[len(wanted) + 1 :].strip()


def _language(proposal: Proposal, contract: OutputContract) -> Iterator[Violation]:
    """Every text of some length by itself; the short statements together."""
    if contract.language is None:
        return
    texts = {
        pointer("statements", at, "text"): said.text for at, said in enumerate(proposal.statements)
    }
    short = [text for text in texts.values() if _letters(text) < LETTERS]
    texts["/statements"] = "\n".join(short)
    for path, value in leaves(proposal.data or {}):
        if isinstance(value, str):
            texts[pointer("data", *path)] = value
    for at, text in texts.items():
        if not in_language(text, contract.language):
            message = f"not in the language {contract.language!r}"
            yield violation(FailureCode.LANGUAGE_WRONG, at, message)


def in_language(text: str, language: str) -> bool:
    """Whether a text may be in a language; a text too short to tell may be in any."""
    return _letters(text) < LETTERS or chance(text, language) >= LEAST_CHANCE


def _letters(text: str) -> int:
    return sum(map(str.isalpha, text))
