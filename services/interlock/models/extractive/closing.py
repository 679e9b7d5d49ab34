"""Saying in plain words what came of an action, with the action's own record as evidence."""

from collections.abc import Iterator, Mapping, Sequence
from string import Formatter
from typing import Any

from interlock.models.extractive.words import stems
from interlock_contracts.actions import Effect, Result
from interlock_contracts.canonical import canonical_json
from interlock_contracts.failures import FailureCode
from interlock_contracts.proposal import Citation, Statement
from interlock_contracts.tools import ToolSpec

MAX_FACTS = 8
_MAX_QUOTE_CHARS = 800

_WHY = {
    FailureCode.APPROVAL_DENIED: "the person who was asked declined",
    FailureCode.APPROVAL_EXPIRED: "nobody approved it in time",
    FailureCode.GRANT_EXPIRED: "its approval ran out before it could start",
    FailureCode.GRANT_REVOKED: "its approval was revoked before it could start",
    FailureCode.TOOL_TIMEOUT: "the system behind it did not answer in time",
}

_PLAIN = {
    Effect.LANDED: "It was done.",
    Effect.DID_NOT_HAPPEN: "It was not done.",
    Effect.IN_DOUBT: "It is being checked whether it was done.",
}


def closing(
    result: Result, tool: ToolSpec | None, arguments: Mapping[str, Any], question: str
) -> Statement:
    """One statement about one result; it promises nothing the result does not say."""
    what = _summary(result, tool, arguments)
    told = _own_words(result)
    if told is not None:
        text = told
    elif result.effect is Effect.LANDED:
        facts = list(_facts(result.output, set(map(str, arguments.values())), question))
        if tool is not None and tool.effect == "read":
            text = f"{_subject(arguments, what)}: {'; '.join(facts) or 'nothing was found'}."
        else:
            text = f"Done: {what}."
    elif result.effect is Effect.DID_NOT_HAPPEN:
        text = f"This was not done: {what}. {_why(result)}"
    else:
        text = (
            f"It is not certain yet whether this was done: {what}. "
            "It is being checked, and it will not simply be tried again."
        )
    handle = f"r{result.action}"
    quote = _quote(result) if told is None else _members({"summary": told})
    return Statement(text=text, citations=(Citation(handle=handle, quote=quote),))


def _own_words(result: Result) -> str | None:
    """What the tool itself says of what it did: the `summary` of its output, if it has one."""
    output = result.output
    told = output.get("summary") if isinstance(output, dict) else None
    landed = result.effect is Effect.LANDED and result.failure is None
    fits = isinstance(told, str) and 0 < len(told) <= _MAX_QUOTE_CHARS // 2
    return told if landed and fits else None


def plain_closing(result: Result) -> Statement:
    """The same in the fewest words that are still true."""
    quote = _members({"effect": result.effect.value})
    citation = Citation(handle=f"r{result.action}", quote=quote)
    return Statement(text=_PLAIN[result.effect], citations=(citation,))


def _summary(result: Result, tool: ToolSpec | None, arguments: Mapping[str, Any]) -> str:
    """The tool's summary with the arguments filled in, to be used within a sentence."""
    template = tool.summary if tool is not None else ""
    parts: list[str] = []
    for literal, name, _, _ in Formatter().parse(template):
        parts.append(literal)
        if name is not None:
            parts.append(_value(arguments.get(name, "?")))
    text = "".join(parts).strip().rstrip(".") or result.tool.replace("_", " ")
    return text[:1].lower() + text[1:]


def _subject(arguments: Mapping[str, Any], what: str) -> str:
    """What a look-up was about: `Order A-1001`."""
    for name, value in arguments.items():
        if name.endswith("_id"):
            return f"{name.removesuffix('_id').replace('_', ' ').capitalize()} {value}"
    return what[:1].upper() + what[1:]


def _why(result: Result) -> str:
    if result.failure is None:
        return "No reason was given."
    reason = _WHY.get(result.failure.code) or result.failure.message.strip().rstrip(".")
    return f"The reason: {reason}."


def _quote(result: Result) -> str:
    """The part of the result's canonical JSON that shows what the statement says.

    Of an output as much as fits: all of it, or else its first members.
    """
    if result.failure is not None:
        return _members({"failure": result.failure.model_dump(mode="json")})
    whole = canonical_json(result.output).decode()
    if result.output is not None and len(whole) <= _MAX_QUOTE_CHARS:
        return whole
    if isinstance(result.output, dict):
        for key in sorted(result.output):
            member = _members({key: result.output[key]})
            if len(member) <= _MAX_QUOTE_CHARS:
                return member
    return _members({"effect": result.effect.value})


def _members(value: Mapping[str, Any]) -> str:
    """`value` as it stands within the canonical JSON of an object that has its members."""
    return canonical_json(dict(value)).decode()[1:-1]


def _facts(output: Any, known: set[str], question: str) -> Iterator[str]:
    """The facts of an output as `label value`; what the question names first."""
    if not isinstance(output, dict):
        if output is not None:
            yield _value(output)
        return
    asked = set(stems(question))
    facts = [
        (not asked & set(stems(_label(key))), key != "status", position, key, value)
        for position, (key, value) in enumerate(output.items())
        if value not in (None, "", [], {}) and str(value) not in known
    ]
    for _, _, _, key, value in sorted(facts, key=lambda fact: fact[:3])[:MAX_FACTS]:
        yield f"{_label(key)} {_value(value, key)}"


def _label(key: str) -> str:
    return key.removesuffix("_cents").removesuffix("_id").replace("_", " ")


def _value(value: Any, key: str = "") -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and key.endswith("_cents"):
        return f"{'-' if value < 0 else ''}{abs(value) // 100}.{abs(value) % 100:02}"
    if isinstance(value, Mapping):
        return _record(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        more = f" and {len(value) - 5} more" if len(value) > 5 else ""
        return ", ".join(_value(item, key) for item in value[:5]) + more
    return str(value).replace("_", " ") if key == "status" else str(value)


def _record(value: Mapping[str, Any]) -> str:
    """An object in a list: its first text, and the rest in brackets."""
    name = next((key for key, item in value.items() if isinstance(item, str)), None)
    rest = ", ".join(
        f"{_label(key)} {_value(item, key)}" for key, item in value.items() if key != name
    )
    if name is None:
        return rest
    return f"{value[name]} ({rest})" if rest else str(value[name])
