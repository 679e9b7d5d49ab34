"""The one answer to a request: clean, refused, or composed from the sources alone."""

import re
from collections.abc import Iterable, Sequence

from interlock.bundles.model import Bundle, OutputContract
from interlock.bundles.patterns import PatternTimeout
from interlock.contract_validator.checks.matching import normal
from interlock.contract_validator.checks.output import Forbidden
from interlock.contract_validator.checks.structure import in_language
from interlock_contracts.answer import ActionOutcome, Answer, AnswerStatus, Source
from interlock_contracts.canonical import canonical_json
from interlock_contracts.case import Case
from interlock_contracts.failures import Failure, FailureCode, failure
from interlock_contracts.privacy import findings_in
from interlock_contracts.proposal import Proposal
from interlock_contracts.retrieval import Chunk, RetrievalOutcome

_NOT_FOUND = {
    RetrievalOutcome.NOTHING_INDEXED: FailureCode.NOTHING_INDEXED,
    RetrievalOutcome.FILTERED_OUT: FailureCode.FILTERED_OUT,
    RetrievalOutcome.RANKED_OUT: FailureCode.RANKED_OUT,
}
_WHY_NOT_FOUND = {
    FailureCode.NOTHING_INDEXED: "nothing is indexed for this tenant",
    FailureCode.FILTERED_OUT: "what there is may not be read with these scopes",
    FailureCode.RANKED_OUT: "what was found was not good enough to be used",
    FailureCode.NOT_RETRIEVED: "the sources that were found do not hold the answer",
}
_DEFAULT_REPLIES = {
    "not_found": "I could not find an answer to that.",
    "refused": "I cannot do that.",
}
_SENTENCE = re.compile(r"[^\n.!?]+(?:[.!?](?!\s)[^\n.!?]*)*[.!?]?")


def clean_answer(case: Case, proposal: Proposal, why: Iterable[Failure] = ()) -> Answer:
    """The proposal as the answer; what is wrong with it all the same is told beside it, and so
    are failed or denied actions."""
    return Answer(
        request_id=case.request.request_id,
        status=AnswerStatus.ANSWERED,
        text=proposal.text or canonical_json(proposal.data).decode(),
        data=proposal.data,
        sources=_sources(case, proposal),
        actions=outcomes(case),
        failures=_unique([*why, *(one.failure for one in outcomes(case) if one.failure)]),
        bundle=case.bundle,
    )


def not_found(case: Case, bundle: Bundle) -> Answer:
    """The model abstained: the bundle's own words, and how retrieval came to nothing."""
    outcome = case.context.outcome if case.context else RetrievalOutcome.NOT_NEEDED
    code = _NOT_FOUND.get(outcome, FailureCode.NOT_RETRIEVED)
    return _refusal(case, bundle, "not_found", (failure(code, _WHY_NOT_FOUND[code]),))


def refused(case: Case, bundle: Bundle, why: Iterable[Failure]) -> Answer:
    """A refusal with its reasons; the bundle may have words for the first code it knows."""
    failures = _unique(why)
    known = (one.code.value for one in failures if one.code.value in bundle.replies)
    return _refusal(case, bundle, next(known, "refused"), failures)


def _refusal(case: Case, bundle: Bundle, reply: str, failures: tuple[Failure, ...]) -> Answer:
    return Answer(
        request_id=case.request.request_id,
        status=AnswerStatus.REFUSED,
        text=bundle.replies.get(reply) or _DEFAULT_REPLIES.get(reply, "I cannot do that."),
        actions=outcomes(case),
        failures=failures,
        bundle=case.bundle,
    )


def extracted(
    case: Case, contract: OutputContract, forbidden: Forbidden, why: Iterable[Failure]
) -> Answer | None:
    """The sentence of the sources that shares most words with the request, quoted.

    Only for a case whose chunks may all be read: one that may not was refused before.
    None where no sentence shares a word, none fits the output contract, or a forbidden pattern
    takes too long to say so.
    """
    asked = _words(case.request.text)
    ranked = sorted(
        (
            (-len(asked & _words(sentence)), order, sentence, chunk)
            for order, (chunk, sentence) in enumerate(_sentences(case))
        ),
        key=lambda row: row[:2],
    )
    for overlap, _, sentence, chunk in ranked:
        if overlap == 0:
            break
        speaks = contract.language is None or in_language(sentence, contract.language)
        try:
            fits = len(sentence) <= contract.max_chars and not any(
                one.search(sentence) for one in forbidden
            )
        except PatternTimeout:
            return None
        if speaks and fits:
            return Answer(
                request_id=case.request.request_id,
                status=AnswerStatus.ANSWERED,
                text=sentence,
                sources=(_source(chunk, sentence),),
                actions=outcomes(case),
                failures=_unique(why),
                bundle=case.bundle,
            )
    return None


def with_personal(case: Case, answer: Answer) -> Answer:
    """The answer with the findings behind its placeholders: its reader fills them in."""
    texts = [answer.text, str(answer.data), *(source.quote for source in answer.sources)]
    personal = findings_in(case.personal, texts)
    return answer.model_copy(update={"personal": personal}) if personal else answer


def outcomes(case: Case) -> tuple[ActionOutcome, ...]:
    """What came of every action of the earlier steps."""
    return tuple(
        ActionOutcome(
            action=result.action, tool=result.tool, effect=result.effect, failure=result.failure
        )
        for step in case.steps
        for result in step.results
    )


def _sources(case: Case, proposal: Proposal) -> tuple[Source, ...]:
    tools = {f"r{one.action}": one.tool for one in outcomes(case)}
    found: dict[tuple[str, str], Source] = {}
    for statement in proposal.statements:
        for citation in statement.citations:
            handle, quote = citation.handle, citation.quote
            chunk = case.context.chunk(handle) if case.context else None
            if chunk is not None:
                found.setdefault((handle, quote), _source(chunk, quote))
            elif handle in tools:
                source = Source(
                    handle=handle,
                    document_id=f"result:{handle[1:]}",
                    title=tools[handle],
                    quote=quote,
                )
                found.setdefault((handle, quote), source)
    return tuple(found.values())


def _source(chunk: Chunk, quote: str) -> Source:
    return Source(
        handle=chunk.handle,
        document_id=chunk.document_id,
        title=chunk.title,
        url=chunk.url,
        quote=quote,
    )


def _sentences(case: Case) -> Iterable[tuple[Chunk, str]]:
    for chunk in case.context.chunks if case.context else ():
        for match in _SENTENCE.finditer(chunk.text):
            if match.group().strip():
                yield chunk, match.group().strip()


def _words(text: str) -> set[str]:
    """The words that say something, roughly: those of more than three letters."""
    return {word for word in normal(text).split() if len(word) > 3 or word.isdigit()}


def _unique(failures: Iterable[Failure]) -> tuple[Failure, ...]:
    """As plain failures (a violation's path points into a proposal nobody sees), once each."""
    plain: Sequence[Failure] = [failure(one.code, one.message) for one in failures]
    return tuple(dict.fromkeys(plain))
