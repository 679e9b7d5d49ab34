"""The one closed list of failures: every failure has a code, and every code one area.

Retired codes stay in `RETIRED` and are never given a new meaning.
"""

from enum import StrEnum
from typing import Self

from pydantic import model_validator

from interlock_contracts.base import CleanText, Model


class FailureArea(StrEnum):
    """Where a failure belongs; the same words in verdicts, metrics, evals and dead letters.

    The first five are the areas a feature's author can act on. `runtime` is for what no
    feature can cause: transport, deadlines, crashed stages (docs/decisions/002).
    """

    RETRIEVAL = "retrieval"
    ROUTING = "routing"
    TOOL_CALL = "tool_call"
    OUTPUT_CONTRACT = "output_contract"
    SAFETY_POLICY = "safety_policy"
    RUNTIME = "runtime"


class FailureCode(StrEnum):
    """What went wrong. `AREA_OF` says where each code belongs."""

    # retrieval
    NOTHING_INDEXED = "nothing_indexed"
    FILTERED_OUT = "filtered_out"
    NOT_RETRIEVED = "not_retrieved"
    RANKED_OUT = "ranked_out"
    # routing
    OUT_OF_SCOPE = "out_of_scope"
    INTENT_AMBIGUOUS = "intent_ambiguous"
    ROLE_NOT_ALLOWED = "role_not_allowed"
    REQUEST_BLOCKED = "request_blocked"
    SEVERAL_INTENTS = "several_intents"
    # tool_call
    TOOL_UNKNOWN = "tool_unknown"
    TOOL_NOT_ALLOWED = "tool_not_allowed"
    ARGUMENTS_INVALID = "arguments_invalid"
    ARGUMENT_UNGROUNDED = "argument_ungrounded"
    FACT_UNAVAILABLE = "fact_unavailable"
    SEQUENCE_VIOLATION = "sequence_violation"
    LIMIT_EXCEEDED = "limit_exceeded"
    GRANT_INVALID = "grant_invalid"
    GRANT_EXPIRED = "grant_expired"
    GRANT_REVOKED = "grant_revoked"
    APPROVAL_DENIED = "approval_denied"
    APPROVAL_EXPIRED = "approval_expired"
    APPROVAL_MISMATCH = "approval_mismatch"
    TOOL_FAILED = "tool_failed"
    TOOL_TIMEOUT = "tool_timeout"
    EFFECT_IN_DOUBT = "effect_in_doubt"
    TURNS_EXHAUSTED = "turns_exhausted"
    # output_contract
    OUTPUT_MALFORMED = "output_malformed"
    CITATION_MISSING = "citation_missing"
    CITATION_NOT_RETRIEVED = "citation_not_retrieved"
    QUOTE_NOT_IN_SOURCE = "quote_not_in_source"
    VALUE_NOT_IN_SOURCE = "value_not_in_source"
    STATEMENT_UNSUPPORTED = "statement_unsupported"
    LENGTH_EXCEEDED = "length_exceeded"
    FORBIDDEN_CONTENT = "forbidden_content"
    DATA_INVALID = "data_invalid"
    SECTION_MISSING = "section_missing"
    LANGUAGE_WRONG = "language_wrong"
    PATTERN_TIMEOUT = "pattern_timeout"
    PLACEHOLDER_UNKNOWN = "placeholder_unknown"
    REPAIRS_EXHAUSTED = "repairs_exhausted"
    ANSWER_DENIED = "answer_denied"
    ANSWER_EXPIRED = "answer_expired"
    # safety_policy
    POLICY_FORBIDS = "policy_forbids"
    POLICY_ERROR = "policy_error"
    TENANT_BOUNDARY = "tenant_boundary"
    SCOPE_MISSING = "scope_missing"
    UNTRUSTED_INSTRUCTION = "untrusted_instruction"
    MODEL_NOT_ALLOWED = "model_not_allowed"
    REQUESTER_IS_APPROVER = "requester_is_approver"
    APPROVER_NOT_ALLOWED = "approver_not_allowed"
    # runtime
    MALFORMED_JSON = "malformed_json"
    EVENT_INVALID = "event_invalid"
    EVENT_UNKNOWN = "event_unknown"
    VERSION_UNSUPPORTED = "version_unsupported"
    SUBJECT_INVALID = "subject_invalid"
    CASE_ALTERED = "case_altered"
    OVERSIZE = "oversize"
    TEXT_INVALID = "text_invalid"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    BUDGET_EXCEEDED = "budget_exceeded"
    BUNDLE_UNKNOWN = "bundle_unknown"
    MODEL_UNAVAILABLE = "model_unavailable"
    STAGE_FAILED = "stage_failed"
    RETRIES_EXHAUSTED = "retries_exhausted"


RETIRED: frozenset[str] = frozenset()
"""Codes that were used once; no new code may take one of these names."""

_FIRST_OF_AREA = {
    FailureCode.NOTHING_INDEXED: FailureArea.RETRIEVAL,
    FailureCode.OUT_OF_SCOPE: FailureArea.ROUTING,
    FailureCode.TOOL_UNKNOWN: FailureArea.TOOL_CALL,
    FailureCode.OUTPUT_MALFORMED: FailureArea.OUTPUT_CONTRACT,
    FailureCode.POLICY_FORBIDS: FailureArea.SAFETY_POLICY,
    FailureCode.MALFORMED_JSON: FailureArea.RUNTIME,
}


def _areas() -> dict[FailureCode, FailureArea]:
    areas: dict[FailureCode, FailureArea] = {}
    area = FailureArea.RETRIEVAL
    for code in FailureCode:
        area = _FIRST_OF_AREA.get(code, area)
        areas[code] = area
    return areas


AREA_OF: dict[FailureCode, FailureArea] = _areas()
"""The area of every code; the codes above are listed area by area."""


MEANING: dict[FailureCode, str] = {
    FailureCode.NOTHING_INDEXED: (
        "The tenant's index holds no documents of the sources the intent may use."
    ),
    FailureCode.FILTERED_OUT: (
        "Documents match, but the principal lacks a scope for every one of them."
    ),
    FailureCode.NOT_RETRIEVED: "What was wanted is in the index, but no ranking found it.",
    FailureCode.RANKED_OUT: "What was wanted was found, but ranked below what the context holds.",
    FailureCode.OUT_OF_SCOPE: "The request is none the feature is meant for.",
    FailureCode.INTENT_AMBIGUOUS: "Two intents fit the request about equally well.",
    FailureCode.ROLE_NOT_ALLOWED: "The principal's role may not have this intent.",
    FailureCode.REQUEST_BLOCKED: "A rule of the bundle refuses this kind of request outright.",
    FailureCode.SEVERAL_INTENTS: (
        "The request asks for several things at once that are not dealt with together."
    ),
    FailureCode.TOOL_UNKNOWN: "No tool of that name is in the bundle.",
    FailureCode.TOOL_NOT_ALLOWED: "The tool exists, but not for this route, role or scope.",
    FailureCode.ARGUMENTS_INVALID: "The arguments do not fit the tool's schema.",
    FailureCode.ARGUMENT_UNGROUNDED: (
        "An argument's value has no source that the tool contract accepts."
    ),
    FailureCode.FACT_UNAVAILABLE: (
        "A fact the gate needs could not be fetched from its system of record."
    ),
    FailureCode.SEQUENCE_VIOLATION: "The tool was called out of the order its contract asks for.",
    FailureCode.LIMIT_EXCEEDED: "A limit of the tool contract is used up for the time being.",
    FailureCode.GRANT_INVALID: "The grant's signature, tenant, tool or arguments do not hold.",
    FailureCode.GRANT_EXPIRED: "The grant came to the executor after its expiry.",
    FailureCode.GRANT_REVOKED: "An operator has revoked all grants of its epoch since.",
    FailureCode.APPROVAL_DENIED: "A person said no to the action.",
    FailureCode.APPROVAL_EXPIRED: "Nobody decided before the expiry, which counts as no.",
    FailureCode.APPROVAL_MISMATCH: "The decision is about another digest than the action's.",
    FailureCode.TOOL_FAILED: "The tool answered with an error; the effect did not happen.",
    FailureCode.TOOL_TIMEOUT: "The tool did not answer in its time.",
    FailureCode.EFFECT_IN_DOUBT: "Whether the effect landed is unknown; a person has to look.",
    FailureCode.TURNS_EXHAUSTED: "The request used up the turns of its budget.",
    FailureCode.OUTPUT_MALFORMED: (
        "The model's output could not be read as an answer or tool calls."
    ),
    FailureCode.CITATION_MISSING: (
        "A statement has no citation where the output contract asks for one."
    ),
    FailureCode.CITATION_NOT_RETRIEVED: (
        "A citation names something that was not retrieved for this request."
    ),
    FailureCode.QUOTE_NOT_IN_SOURCE: "A quote does not stand verbatim in what it cites.",
    FailureCode.VALUE_NOT_IN_SOURCE: (
        "A number, date or identifier of an answer is in none of its sources."
    ),
    FailureCode.STATEMENT_UNSUPPORTED: "A sentence says more than what the answer cites.",
    FailureCode.LENGTH_EXCEEDED: "The answer is longer than the output contract allows.",
    FailureCode.FORBIDDEN_CONTENT: "The answer holds what the output contract forbids.",
    FailureCode.DATA_INVALID: (
        "The structured answer does not fit the output contract's schema, or there is none."
    ),
    FailureCode.SECTION_MISSING: (
        "A section the output contract asks for is missing, empty or out of order."
    ),
    FailureCode.LANGUAGE_WRONG: "The answer is not in the output contract's language.",
    FailureCode.PATTERN_TIMEOUT: (
        "A pattern of the output contract took too long on the answer, which then counts as "
        "forbidden."
    ),
    FailureCode.PLACEHOLDER_UNKNOWN: (
        "A placeholder such as [EMAIL_9] stands for nothing in the request."
    ),
    FailureCode.REPAIRS_EXHAUSTED: "The proposal was still wrong after the last repair.",
    FailureCode.ANSWER_DENIED: "A person looked at the answer and did not let it out.",
    FailureCode.ANSWER_EXPIRED: "Nobody decided about the answer in time, which counts as no.",
    FailureCode.POLICY_FORBIDS: "A policy denies the action, or none permits it.",
    FailureCode.POLICY_ERROR: "A policy could not be evaluated, which counts as a denial.",
    FailureCode.TENANT_BOUNDARY: "Something of one tenant turned up in another's request.",
    FailureCode.SCOPE_MISSING: "The principal lacks a scope that what it asks for needs.",
    FailureCode.UNTRUSTED_INSTRUCTION: "Words in untrusted content tried to drive an action.",
    FailureCode.MODEL_NOT_ALLOWED: (
        "No model of the route may take this request: its data class, region or task."
    ),
    FailureCode.REQUESTER_IS_APPROVER: "The person who decided is the one who asked.",
    FailureCode.APPROVER_NOT_ALLOWED: "The person who decided is none who reviews this class.",
    FailureCode.MALFORMED_JSON: "The body is not JSON.",
    FailureCode.EVENT_INVALID: (
        "The body is JSON, but not what the event's schema says, or not what its subject says."
    ),
    FailureCode.EVENT_UNKNOWN: "No event of that name is in the table.",
    FailureCode.VERSION_UNSUPPORTED: "The event is of a version this installation does not read.",
    FailureCode.SUBJECT_INVALID: (
        "The subject is not cell, event, tenant, request and step, with a tail where one is due."
    ),
    FailureCode.CASE_ALTERED: (
        "What a stage hands on as the case is not what the log says of the request."
    ),
    FailureCode.OVERSIZE: "The event, or a text or list in it, is larger than allowed.",
    FailureCode.TEXT_INVALID: "A text is blank, or holds characters that are not allowed in text.",
    FailureCode.DEADLINE_EXCEEDED: "The time the producer or the bundle allows was over.",
    FailureCode.BUDGET_EXCEEDED: (
        "Another model call would use more tokens or money than the request may."
    ),
    FailureCode.BUNDLE_UNKNOWN: "The bundle the request is pinned to is not at hand.",
    FailureCode.MODEL_UNAVAILABLE: "No model of the route could be reached.",
    FailureCode.STAGE_FAILED: "The stage failed in a way nobody foresaw.",
    FailureCode.RETRIES_EXHAUSTED: "The stage failed on the last attempt as on those before.",
}
"""What each code means, in one line; docs/failures.md is made of it."""


class Failure(Model):
    """One failure, as it is written into verdicts, answers, results and dead letters."""

    area: FailureArea
    code: FailureCode
    message: CleanText

    @model_validator(mode="after")
    def _area_fits_code(self) -> Self:
        if AREA_OF[self.code] is not self.area:
            raise ValueError(f"{self.code} belongs to {AREA_OF[self.code]}, not to {self.area}")
        return self


def failure(code: FailureCode, message: str) -> Failure:
    """A `Failure` with the area that belongs to its code."""
    return Failure(area=AREA_OF[code], code=code, message=message)
