"""The Cedar policies of a bundle: read one by one, and checked against its schema.

Every policy has an `@id`; a permit may have an `@obligation` (`confirm`, `review:<class>`,
`two_person`; several with commas). What policies see is in `cedar.py`.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any

import cedarpy

from interlock.bundles.cedar import cedar_schema
from interlock.bundles.model import Bundle

OBLIGATION = re.compile(r"confirm|two_person|review:[A-Za-z0-9_-]{1,64}")
"""What a permit may oblige the gate to do before the action runs."""


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy of a bundle, where it stands, and Cedar's JSON form of it."""

    file: str
    line: int
    text: str
    id: str = ""
    effect: str = ""
    obligations: tuple[str, ...] = ()
    parsed: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def place(self) -> str:
        """`file:line`."""
        return f"{self.file}:{self.line}"


_SKIPPED = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|;')
_LEADING = re.compile(r"(?:\s+|//[^\n]*)*")


def split_policies(text: str) -> list[tuple[int, str]]:
    """Each policy of a file as (line it starts on, its text), comments before it left out."""
    found, start = [], 0
    ends = [match.end() for match in _SKIPPED.finditer(text) if match.group() == ";"]
    for end in [*ends, len(text)]:
        lead = _LEADING.match(text, start, end)
        begin = lead.end() if lead else start
        if begin < end:
            found.append((text.count("\n", 0, begin) + 1, text[begin:end]))
        start = end
    return found


def read_policies(bundle: Bundle) -> tuple[list[Policy], list[str]]:
    """The bundle's policies in order of file name, and 'file:line: message' for each problem."""
    policies: list[Policy] = []
    problems: list[str] = []
    seen: dict[str, str] = {}
    for name in sorted(bundle.policies):
        file = f"policies/{name}"
        for line, text in split_policies(bundle.policies[name]):
            place = f"{file}:{line}"
            try:
                policy = _read(file, line, text)
            except ValueError as error:
                problems.append(f"{place}: {error}")
                continue
            if policy.id in seen:
                problems.append(f'{place}: @id("{policy.id}") is taken by {seen[policy.id]}')
            seen.setdefault(policy.id, place)
            policies.append(policy)
    return policies, problems


def _read(file: str, line: int, text: str) -> Policy:
    parsed = json.loads(cedarpy.policies_to_json_str(text))
    if parsed["templates"]:
        raise ValueError("a template (?principal, ?resource) is never linked here")
    (policy,) = parsed["staticPolicies"].values()
    notes = policy.get("annotations", {})
    if not 1 <= len(notes.get("id") or "") <= 128:
        raise ValueError('a policy needs an @id("…") of at most 128 characters')
    stated = notes.get("obligation")
    obligations = () if stated is None else tuple(part.strip() for part in stated.split(","))
    if obligations and policy["effect"] != "permit":
        raise ValueError("an @obligation belongs on a permit")
    for obligation in obligations:
        if not OBLIGATION.fullmatch(obligation):
            raise ValueError(
                f'@obligation("{obligation}") is none of confirm, review:<class>, two_person'
            )
    unknown = sorted(set(notes) - {"id", "obligation", "advice", "description"})
    if unknown:
        raise ValueError(f"@{unknown[0]} is no annotation known here; is @obligation meant?")
    return Policy(file, line, text, notes["id"], policy["effect"], obligations, policy)


def check_policies(bundle: Bundle) -> list[str]:
    """Every problem of the bundle's policies as 'file:line: message'; empty if all is well.

    Found are syntax errors, missing or double ids, unknown obligations, and whatever does not
    fit the schema: unknown actions and attributes, wrong types.
    """
    policies, problems = read_policies(bundle)
    try:
        schema = cedarpy.Schema.from_json_str(json.dumps(cedar_schema(bundle)))
    except ValueError as error:
        return [*problems, f"policies: the tools make no Cedar schema: {error}"]
    for policy in policies:
        result = cedarpy.validate_policies(policy.text, schema)
        for found in result.errors:
            message = found.error.removeprefix("for policy `policy0`, ")
            problems.append(f"{policy.file}:{_line_of(message, policy)}: {message}")
    return problems


def _line_of(message: str, policy: Policy) -> int:
    """The line of the first thing the message names in backquotes; else the policy's first."""
    for name in re.findall(r"`([^`]+)`", message):
        for needle in (name, f".{name.rpartition('.')[2]}"):
            at = policy.text.find(needle)
            if at >= 0:
                return policy.line + policy.text.count("\n", 0, at)
    return policy.line
