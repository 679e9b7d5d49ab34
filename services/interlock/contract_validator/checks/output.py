"""Is there an answer at all, and does it keep to length and forbidden content?"""

from collections.abc import Sequence

from interlock.bundles.model import OutputContract
from interlock.bundles.patterns import Pattern, PatternTimeout, pattern
from interlock.contract_validator.checks.text import leaves, pointer, shown
from interlock_contracts.canonical import canonical_json
from interlock_contracts.failures import FailureCode
from interlock_contracts.proposal import Proposal
from interlock_contracts.verdict import Violation, violation

Forbidden = Sequence[Pattern]

Path = tuple[str | int, ...]


def compile_forbidden(contract: OutputContract) -> Forbidden:
    """The contract's patterns, case ignored; raises `ValueError` for one that is none."""
    return [pattern(source) for source in contract.forbidden]


def check_form(proposal: Proposal) -> list[Violation]:
    """output_malformed: unreadable, empty, or answering and acting against itself."""
    reasons = []
    if proposal.malformed is not None:
        reasons.append(f"the output could not be read: {shown(proposal.malformed, 300)}")
    elif proposal.abstained and proposal.calls:
        reasons.append("it abstains and calls tools at once")
    elif not (proposal.says_something or proposal.abstained):
        reasons.append("neither a statement nor a call, and it does not abstain")
    elif proposal.statements and not proposal.calls and not proposal.text.strip():
        reasons.append("the answer is empty")
    return [violation(FailureCode.OUTPUT_MALFORMED, "", reason) for reason in reasons]


def check_output(
    proposal: Proposal, contract: OutputContract, forbidden: Forbidden
) -> list[Violation]:
    """length_exceeded and forbidden_content, over all a reader would see: text, quotes and data.

    pattern_timeout where a pattern takes too long: nothing is let past that was not looked through.
    """
    found = []
    length = len(proposal.text) + (len(canonical_json(proposal.data)) if proposal.data else 0)
    if length > contract.max_chars:
        message = f"{length:,} characters; at most {contract.max_chars:,} are allowed"
        found.append(violation(FailureCode.LENGTH_EXCEEDED, "/statements", message))
    texts: list[tuple[Path, str]] = []
    for at, statement in enumerate(proposal.statements):
        texts.append((("statements", at, "text"), statement.text))
        for number, citation in enumerate(statement.citations):
            texts.append((("statements", at, "citations", number, "quote"), citation.quote))
    for where, value in leaves(proposal.data or {}):
        if isinstance(value, str):
            texts.append((("data", *where), value))
    return found + _forbidden(texts, forbidden)


def _forbidden(texts: Sequence[tuple[Path, str]], forbidden: Forbidden) -> list[Violation]:
    found: list[Violation] = []
    clean: set[str] = set()  # a statement often is its own quote
    for path, text in texts:
        if text in clean:
            continue
        before = len(found)
        for number, one in enumerate(forbidden, 1):
            try:
                matched = one.search(text) is not None
            except PatternTimeout as late:  # looking on could take as long for every text
                message = f"forbidden pattern {number}: {late}"
                return [*found, violation(FailureCode.PATTERN_TIMEOUT, pointer(*path), message)]
            if matched:
                message = f"matches forbidden pattern {number}"
                found.append(violation(FailureCode.FORBIDDEN_CONTENT, pointer(*path), message))
        if len(found) == before:
            clean.add(text)
    return found
