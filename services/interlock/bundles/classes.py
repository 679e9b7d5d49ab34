"""Classes of requests: what the rules of the router and the overrides of a bundle are keyed on.

A class is what a request is, never how sure the router was of it.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import Field

from interlock_contracts.base import CleanText, Model, Token, is_empty
from interlock_contracts.request import Request
from interlock_contracts.routing import Risk

Features = Mapping[str, frozenset[str]]
"""What is known of a request, by the fields of `RequestClass`; a field it lacks is not known."""


class RequestClass(Model):
    """The requests for which all that is named here holds; of several values one is enough.

    `groups` are those of the bundle, `personal` kinds of personal data that the request holds,
    `signals` kinds of signs of an injection or jailbreak in it, or in what was retrieved or
    returned by tools for it.
    """

    intents: tuple[Token, ...] = ()
    risks: tuple[Risk, ...] = ()
    data_classes: tuple[Token, ...] = ()
    roles: tuple[Token, ...] = ()
    scopes: tuple[Token, ...] = ()
    groups: tuple[Token, ...] = ()
    channels: tuple[Token, ...] = ()
    tenants: tuple[Token, ...] = ()
    personal: tuple[Token, ...] = ()
    signals: tuple[Token, ...] = ()

    @property
    def named(self) -> dict[str, tuple[str, ...]]:
        """What the class asks for, by field."""
        fields = ((name, getattr(self, name)) for name in RequestClass.model_fields)
        return {name: values for name, values in fields if values}

    def has(self, features: Features) -> bool:
        """Whether a request with these features is of this class."""
        return all(
            not features.get(name, _NOTHING).isdisjoint(values)
            for name, values in self.named.items()
        )


_NOTHING: frozenset[str] = frozenset()

KNOWN_LATER = ("intents", "risks", "data_classes")
"""What a request is known by only once it has an intent."""


class RouterRule(RequestClass):
    """Gives an intent to the requests of a class whose text, if there is a `pattern`, has it.

    `pattern` is a regular expression (Python's syntax, case ignored), cut off when it takes long.
    """

    id: Token
    intent: Token
    pattern: CleanText | None = None


class Override(RequestClass):
    """What happens to a class of requests whatever anything else says.

    `block` refuses them, with `reply` if it has words of its own. `confirm` asks the requester
    before any action that is not a read, `review` somebody of `review_class` (without one the
    intent's). An answer without an action is held back by a `review` with `answers` only: somebody
    then sees every answer before it goes out.
    """

    id: Token
    effect: Literal["block", "confirm", "review"]
    review_class: Token | None = None
    reply: CleanText | None = Field(default=None)
    answers: bool = Field(default=False, exclude_if=is_empty)


def features_of(
    request: Request, groups: Mapping[str, Iterable[str]], personal: Iterable[str] = ()
) -> dict[str, frozenset[str]]:
    """What a request is known by before it has an intent; `personal` are the kinds found."""
    principal = request.principal
    return {
        "roles": frozenset((principal.role,)),
        "scopes": frozenset(principal.scopes),
        "groups": frozenset(name for name, users in groups.items() if principal.user in users),
        "channels": frozenset((request.channel,)),
        "tenants": frozenset((request.tenant,)),
        "personal": frozenset(personal),
    }
