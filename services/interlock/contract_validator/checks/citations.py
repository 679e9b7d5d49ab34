"""Does an answer cite what was really retrieved, in its own words, and enough of it?"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from interlock.bundles.model import OutputContract
from interlock.contract_validator.checks.grounding import Sources, support
from interlock.contract_validator.checks.structure import is_heading
from interlock.contract_validator.checks.text import plain, pointer, shown
from interlock_contracts.canonical import canonical_json
from interlock_contracts.case import Case
from interlock_contracts.failures import FailureCode
from interlock_contracts.proposal import Citation, Proposal
from interlock_contracts.request import Request
from interlock_contracts.retrieval import Chunk
from interlock_contracts.verdict import Violation, violation

_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|\n+")


@dataclass(slots=True)
class CitationReport:
    """What is wrong, and the share of statements (questions apart) with a valid citation."""

    violations: list[Violation] = field(default_factory=list)
    coverage: float | None = None


def cited_texts(case: Case) -> dict[str, str]:
    """What each handle names: chunk texts, and results of earlier actions as canonical JSON."""
    texts = {chunk.handle: chunk.text for chunk in (case.context.chunks if case.context else ())}
    for step in case.steps:
        for result in step.results:
            texts[f"r{result.action}"] = canonical_json(result).decode()
    return texts


def check_access(case: Case) -> list[Violation]:
    """tenant_boundary and scope_missing, for every chunk of the context.

    Uncited chunks count too: a model can tell what it does not cite.
    """
    return [
        violation(code, "", f"chunk {chunk.handle} {reason}")
        for chunk in (case.context.chunks if case.context else ())
        for code, reason in access_problems(chunk, case.request)
    ]


def access_problems(chunk: Chunk, request: Request) -> list[tuple[FailureCode, str]]:
    """Why this principal may not read this chunk; empty if it may."""
    found = []
    if chunk.tenant != request.tenant:
        found.append((FailureCode.TENANT_BOUNDARY, "belongs to another tenant"))
    missing = sorted({*chunk.scopes} - {*request.principal.scopes}) if chunk.scopes else []
    if missing:
        found.append((FailureCode.SCOPE_MISSING, f"needs the scopes {', '.join(missing)}"))
    return found


def check_citations(
    proposal: Proposal, texts: Mapping[str, str], contract: OutputContract
) -> CitationReport:
    """Check every citation of every statement, and the contract's rule on how many are due."""
    report = CitationReport()
    sources = {handle: _Source(text) for handle, text in texts.items()}
    due = covered = cited = 0
    for at, statement in enumerate(proposal.statements):
        good = 0
        for number, citation in enumerate(statement.citations):
            problem = _check(citation, sources, ("statements", at, "citations", number))
            if problem is None:
                good += 1
            else:
                report.violations.append(problem)
        cited += len(statement.citations)
        if is_question(statement.text) or is_heading(statement.text, contract.sections):
            continue
        due += 1
        covered += good > 0
        if contract.citations == "every" and not statement.citations:
            report.violations.append(_missing(pointer("statements", at), "this statement"))
    if contract.citations == "some" and due and not cited:
        report.violations.append(_missing("/statements", "the answer"))
    report.coverage = covered / due if due else None
    return report


def check_support(
    proposal: Proposal, texts: Mapping[str, str], contract: OutputContract, question: str
) -> list[Violation]:
    """statement_unsupported, for sentences less likely supported than the contract wants.

    An answer is held against all it cites together; what is not cited supports nothing.
    """
    least = contract.min_support
    if least is None:
        return []
    cited = {one.handle for statement in proposal.statements for one in statement.citations}
    sources = Sources([text for handle, text in texts.items() if handle in cited], question)
    found = []
    for at, statement in enumerate(proposal.statements):
        if is_question(statement.text) or is_heading(statement.text, contract.sections):
            continue
        weak = min(support(statement.text, sources), key=lambda one: one.score, default=None)
        if weak is not None and weak.score < least:
            sentence = shown(statement.text[weak.start : weak.end], 80)
            message = f"{weak.score:.2f} likely supported, {least:.2f} is asked for: {sentence}"
            path = pointer("statements", at, "text")
            found.append(violation(FailureCode.STATEMENT_UNSUPPORTED, path, message))
    return found


def _missing(path: str, what: str) -> Violation:
    return violation(FailureCode.CITATION_MISSING, path, f"{what} cites nothing")


class _Source:
    """A text to find quotes in; made plain only for one that does not stand in it to the letter."""

    def __init__(self, text: str) -> None:
        self._text = text

    @cached_property
    def _plain(self) -> str:
        return plain(self._text)

    def has(self, quote: str) -> bool:
        """Whether the quote stands in it; what does to the letter does plainly too."""
        return quote in self._text or plain(quote) in self._plain


def _check(
    citation: Citation, sources: Mapping[str, _Source], path: tuple[str | int, ...]
) -> Violation | None:
    quote, source = citation.quote, sources.get(citation.handle)
    if source is None:
        message = f"{shown(citation.handle, 64)!r} names nothing that was retrieved or returned"
        return violation(FailureCode.CITATION_NOT_RETRIEVED, pointer(*path, "handle"), message)
    if not any(map(str.isalnum, quote)) or not source.has(quote):
        message = f"the quote does not stand in {citation.handle}"
        return violation(FailureCode.QUOTE_NOT_IN_SOURCE, pointer(*path, "quote"), message)
    return None


def is_question(text: str) -> bool:
    """Whether every sentence asks: a claim followed by a question is still a claim."""
    if "?" not in text:
        return False
    sentences = [part for part in _SENTENCE_END.split(text.strip()) if part]
    return bool(sentences) and all(part.rstrip("\"'”’)] ").endswith("?") for part in sentences)
