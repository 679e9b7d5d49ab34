"""Does every placeholder of a proposal stand for something in the request?

Judged are proposals with the values put back: a placeholder that is still there is the model's
own, unless somebody wrote it.
"""

from collections.abc import Iterator
from typing import Any

from interlock.bundles.model import Bundle
from interlock.bundles.privacy import PrivacySpec
from interlock.contract_validator.checks.text import leaves, pointer
from interlock_contracts.case import Case
from interlock_contracts.failures import FailureCode
from interlock_contracts.privacy import PLACEHOLDER
from interlock_contracts.proposal import Proposal, ToolCall
from interlock_contracts.verdict import Violation, violation


def check_call(index: int, call: ToolCall, case: Case, bundle: Bundle) -> list[Violation]:
    """placeholder_unknown, for what stands in the arguments of a call."""
    found: list[Violation] = []
    if bundle.privacy is None:
        return found
    kinds = _kinds(bundle.privacy)
    for path, value in leaves(call.arguments):
        # A name within the arguments is the model's word as much as a value.
        texts = [*(part for part in path if isinstance(part, str)), value]
        at = pointer("calls", index, "arguments", *path)
        found += [_unknown(at, name) for name in _left(texts, case, kinds)]
    return found


def check_statements(proposal: Proposal, case: Case, bundle: Bundle) -> list[Violation]:
    """placeholder_unknown, for what an answer says."""
    if bundle.privacy is None:
        return []
    kinds = _kinds(bundle.privacy)
    texts = {
        pointer("statements", at, "text"): statement.text
        for at, statement in enumerate(proposal.statements)
    }
    texts |= {pointer("data", *path): value for path, value in leaves(proposal.data or {})}
    return [
        _unknown(path, name) for path, text in texts.items() for name in _left([text], case, kinds)
    ]


def _unknown(path: str, name: str) -> Violation:
    message = f"{name} stands for nothing in this request"
    return violation(FailureCode.PLACEHOLDER_UNKNOWN, path, message)


def _kinds(privacy: PrivacySpec) -> set[str]:
    """What is redacted here."""
    return {*privacy.kinds, *(own.kind for own in privacy.recognisers)}


def _left(texts: list[Any], case: Case, kinds: set[str]) -> Iterator[str]:
    """The placeholders in `texts` of one of the kinds that nobody wrote."""
    for text in texts:
        for match in PLACEHOLDER.finditer(text) if isinstance(text, str) else ():
            if match[1] in kinds and not any(match[0] in given for given in _given(case)):
                yield match[0]


def _given(case: Case) -> Iterator[str]:
    """All that a model was given to read."""
    yield case.request.text
    yield from (turn.text for turn in case.request.history)
    yield from (chunk.text for chunk in (case.context.chunks if case.context else ()))
    for step in case.steps:
        yield from (result.model_dump_json() for result in step.results)
