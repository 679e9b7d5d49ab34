"""The one closed list of failures: every failure has a code, and every code one area.

Retired codes stay in `RETIRED` and are never given a new meaning.
"""

from enum import StrEnum

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
    # tool_call
    TOOL_UNKNOWN = "tool_unknown"
    TOOL_NOT_ALLOWED = "tool_not_allowed"
    ARGUMENTS_INVALID = "arguments_invalid"
    ARGUMENT_UNGROUNDED = "argument_ungrounded"
    FACT_UNAVAILABLE = "fact_unavailable"
    SEQUENCE_VIOLATION = "sequence_violation"
    GRANT_INVALID = "grant_invalid"
    GRANT_EXPIRED = "grant_expired"
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
    LENGTH_EXCEEDED = "length_exceeded"
    FORBIDDEN_CONTENT = "forbidden_content"
    REPAIRS_EXHAUSTED = "repairs_exhausted"
    # safety_policy
    POLICY_FORBIDS = "policy_forbids"
    POLICY_ERROR = "policy_error"
    TENANT_BOUNDARY = "tenant_boundary"
    SCOPE_MISSING = "scope_missing"
    UNTRUSTED_INSTRUCTION = "untrusted_instruction"
    REQUESTER_IS_APPROVER = "requester_is_approver"
    # runtime
    MALFORMED_JSON = "malformed_json"
    EVENT_INVALID = "event_invalid"
    EVENT_UNKNOWN = "event_unknown"
    VERSION_UNSUPPORTED = "version_unsupported"
    SUBJECT_INVALID = "subject_invalid"
    OVERSIZE = "oversize"
    TEXT_INVALID = "text_invalid"
    DEADLINE_EXCEEDED = "deadline_exceeded"
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


class Failure(Model):
    """One failure, as it is written into verdicts, answers, results and dead letters."""

    area: FailureArea
    code: FailureCode
    message: CleanText

    @model_validator(mode="after")
    def _area_fits_code(self) -> "Failure":
        if AREA_OF[self.code] is not self.area:
            raise ValueError(f"{self.code} belongs to {AREA_OF[self.code]}, not to {self.area}")
        return self


def failure(code: FailureCode, message: str) -> Failure:
    """A `Failure` with the area that belongs to its code."""
    return Failure(area=AREA_OF[code], code=code, message=message)
