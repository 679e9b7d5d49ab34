"""What a bundle's gate lets happen: each tool of each intent, for whom, and what then.

The policy engine itself is asked, with everything it cannot know before a call left open
(Cedar's partial evaluation): arguments, facts, history, scopes, and who exactly it is. A policy
that holds or fails whatever these are is told as such, any other one by what it depends on.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cedarpy

from interlock.bundles.cedar import NAMESPACE, entity, read_action
from interlock.bundles.model import Bundle, Intent
from interlock.bundles.policies import Policy, read_policies

ANYBODY_ELSE = "anybody else"
"""Those of a role that neither the bundle nor its policies name."""

EVERYBODY = "everybody"


@dataclass(frozen=True, slots=True)
class Part:
    """What one policy has to say of a way: it holds always where it depends `on` nothing."""

    policy: Policy
    on: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Way:
    """One tool (or governed source) of one intent, for those of `who` the policies treat alike.

    `permits` and `forbids` are the policies that hold or may hold.
    """

    intent: str
    action: str
    who: tuple[str, ...]
    permits: tuple[Part, ...]
    forbids: tuple[Part, ...]

    @property
    def outcomes(self) -> tuple[tuple[str, ...], ...]:
        """The sets of obligations under which it may happen: `()` is none; no set, it never does.

        Permits that hold at the same time add up; told is each by itself.
        """
        if any(not one.on for one in self.forbids):
            return ()
        always = {duty for one in self.permits if not one.on for duty in one.policy.obligations}
        found = [tuple(sorted(always | set(one.policy.obligations))) for one in self.permits]
        return tuple(dict.fromkeys(found))

    @property
    def may_be_refused(self) -> bool:
        """Whether the policies may also say no."""
        certain = any(not one.on for one in self.permits)
        return bool(self.forbids) or not certain

    @property
    def depends_on(self) -> tuple[str, ...]:
        """What decides between the outcomes: `arguments.amount_cents`, `facts.order.status`."""
        if not self.outcomes:
            return ()
        return tuple(sorted({path for one in self.permits + self.forbids for path in one.on}))


def ways(bundle: Bundle) -> list[Way]:
    """Every way through the gate, in the order of the intents and their tools.

    Raises `ValueError` for policies that do not compile.
    """
    policies, problems = read_policies(bundle)
    if problems:
        raise ValueError(problems[0])
    engine = _Engine(policies)
    roles = _roles(bundle, policies)
    users = sorted({name for one in policies for name in _users_in(one.parsed)})
    found = []
    for name, intent in bundle.intents.items():
        if intent.refusal is not None:
            continue
        for action, of_action in _actions(bundle, intent):
            admitted = admitted_roles(intent.roles, of_action)
            asked = roles if admitted is None else sorted(admitted)
            for (permits, forbids), who in _alike(engine, name, action, asked, users):
                shown = (EVERYBODY,) if admitted is None and len(who) == len(roles) else who
                found.append(Way(name, action, shown, permits, forbids))
    return found


Said = tuple[tuple["Part", ...], tuple["Part", ...]]
"""The (permits, forbids) that hold or may hold, in the order of their files."""


def _alike(
    engine: "_Engine", intent: str, action: str, roles: Sequence[str], users: Sequence[str]
) -> Iterator[tuple[Said, tuple[str, ...]]]:
    """Those the policies treat alike; a user they name apart only where it makes a difference."""
    alike: dict[Said, list[str]] = {}
    for role in roles:
        said = engine.ask(intent, action, role)
        alike.setdefault(said, []).append(role)
        for user in users:
            own = engine.ask(intent, action, role, user)
            if own != said:
                alike.setdefault(own, []).append(f"{user} as {role}")
    for said, who in alike.items():
        yield said, tuple(who)


def admitted_roles(*asked: Sequence[str]) -> set[str] | None:
    """Who has all that is asked for; None where nothing is: everybody."""
    restricted = [set(roles) for roles in asked if roles]
    return set.intersection(*restricted) if restricted else None


def _actions(bundle: Bundle, intent: Intent) -> Iterator[tuple[str, Sequence[str]]]:
    """What the policies decide about in an intent, and the roles its contract asks for."""
    for name in intent.tools:
        yield name, bundle.tools[name].roles
    for name in intent.sources:
        if bundle.sources[name].governed:
            yield read_action(name), ()


def _roles(bundle: Bundle, policies: Iterable[Policy]) -> list[str]:
    """Every role that anything names, and whoever has none of them."""
    found = {role for intent in bundle.intents.values() for role in intent.roles}
    found |= {role for tool in bundle.tools.values() for role in tool.roles}
    for policy in policies:
        found |= set(_roles_in(policy.parsed))
    return [*sorted(found), ANYBODY_ELSE]


class _Engine:
    """Cedar, asked with unknowns."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._policies = {one.id: one for one in policies}
        self._set = cedarpy.PolicySet.from_str("\n".join(one.text for one in policies))

    def ask(self, intent: str, action: str, role: str, user: str = "") -> Said:
        """What holds or may hold of an action for a role; for a user of it that policies name."""
        who = {
            "user": _unknown("principal.user"),
            "role": role,
            "scopes": _unknown("principal.scopes"),
        }
        names = ("tenant", "channel", "limit_cents", "said")
        request = {name: _unknown(f"request.{name}") for name in names}
        context = {name: _unknown(name) for name in ("arguments", "facts", "history")}
        result = cedarpy.is_authorized_partial(
            {
                "principal": _written("User", user),
                "action": _written("Action", action),
                "context": {**context, "request": {**request, "intent": intent}},
            },
            self._set,
            [{"uid": entity("User", user), "attrs": who, "parents": []}],
        )
        if result.diagnostics.errors:
            raise ValueError(result.diagnostics.errors[0])
        parts = {}
        for residual in result.residuals.values():
            policy = self._policies[residual["annotations"]["id"]]
            condition = _condition(residual)
            if condition is not False:
                on = () if condition is True else tuple(sorted(set(paths(condition))))
                parts[policy.id] = Part(policy, on)
        ordered = [parts[name] for name in self._policies if name in parts]
        return (
            tuple(one for one in ordered if one.policy.effect == "permit"),
            tuple(one for one in ordered if one.policy.effect == "forbid"),
        )


def _unknown(name: str) -> Any:
    return {"__extn": {"fn": "unknown", "arg": name}}


def _written(kind: str, name: str) -> str:
    """An entity as Cedar's text has it: the form partial evaluation wants."""
    return f"{NAMESPACE}::{kind}::{json.dumps(name)}"


def _condition(policy: Any) -> Any:
    """A residual's conditions as one expression, simplified; True or False where it is decided."""
    found: Any = True
    for condition in policy["conditions"]:
        body = _simple(condition["body"])
        if condition["kind"] == "unless":
            body = _not(body)
        found = _both(found, body)
    return found


def _simple(expression: Any) -> Any:
    """Without the constants the engine leaves in, since an operand could still be an error.

    It cannot: the policies have passed validation against the schema.
    """
    match expression:
        case {"Value": bool(value)}:
            return value
        case {"&&": {"left": left, "right": right}}:
            return _both(_simple(left), _simple(right))
        case {"||": {"left": left, "right": right}}:
            return _not(_both(_not(_simple(left)), _not(_simple(right))))
        case {"!": {"arg": argument}}:
            return _not(_simple(argument))
    return expression


def _both(left: Any, right: Any) -> Any:
    if left is False or right is False:
        return False
    if left is True or right is True:
        return right if left is True else left
    return {"&&": {"left": left, "right": right}}


def _not(expression: Any) -> Any:
    if isinstance(expression, bool):
        return not expression
    return expression["!"]["arg"] if "!" in expression else {"!": {"arg": expression}}


def paths(expression: Any) -> Iterator[str]:
    """What an expression in Cedar's JSON form reads: `arguments.amount_cents`, `principal.role`.

    Attributes of `context` are named without it, as attributes of what is unknown are.
    """
    if isinstance(expression, list):
        for one in expression:
            yield from paths(one)
    elif isinstance(expression, dict):
        path = _path(expression)
        if path is not None:
            yield path.removeprefix("context.")
        else:
            for part in expression.values():
                yield from paths(part)


def _path(expression: Any) -> str | None:
    match expression:
        case {"unknown": [{"Value": str(name)}]} | {"Var": str(name)}:
            return name
    for operator in (".", "has"):
        if isinstance(expression, dict) and operator in expression:
            left = _path(expression[operator]["left"])
            return left and f"{left}.{expression[operator]['attr']}"
    return None


def _roles_in(expression: Any) -> Iterator[str]:
    """The texts `principal.role` is compared with."""
    for operands in _within(expression):
        sides = [operands.get("left"), operands.get("right")]
        if any(_path(side) == "principal.role" for side in sides):
            for one in _within(sides):
                if isinstance(one.get("Value"), str):
                    yield one["Value"]


def _users_in(expression: Any) -> Iterator[str]:
    """The users that are named as such: `principal == Interlock::User::"ann"`."""
    for one in _within(expression):
        if one.get("type") == f"{NAMESPACE}::User":
            yield one["id"]


def _within(expression: Any) -> Iterator[dict[str, Any]]:
    """Every object in a JSON value, itself included."""
    if isinstance(expression, dict):
        yield expression
    parts = expression.values() if isinstance(expression, dict) else expression
    for part in parts if isinstance(expression, dict | list) else ():
        yield from _within(part)
