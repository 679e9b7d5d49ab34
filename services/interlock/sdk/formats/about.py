"""What a file says of the document in it."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from interlock_contracts.base import CleanText, Model, Token
from interlock_contracts.retrieval import Trust


class Unreadable(Exception):
    """A file, or one document of it, that cannot be read; the message says why."""


def moment(value: Any) -> Any:
    """A day (its beginning, UTC), or a time; without an offset it is UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError("give a day (2026-01-31) or a time (2026-01-31T12:00Z)") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if isinstance(value, datetime) and value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    return value


def _several(value: Any) -> Any:
    """One word is no list: `scopes: vip` could be taken for three scopes, or for one."""
    if not isinstance(value, str):
        return value
    raise ValueError("give a list, as in [vip]")


Moment = Annotated[AwareDatetime, BeforeValidator(moment)]


class About(Model):
    """What a document says of itself: front matter, or the fields of a JSON line.

    A reader needs all of `scopes`, and the source's.
    """

    model_config = ConfigDict(strict=False)

    title: CleanText = ""
    url: CleanText | None = None
    scopes: Annotated[tuple[Token, ...], BeforeValidator(_several)] = ()
    trust: Trust | None = None
    language: CleanText = ""
    valid_from: Moment | None = None
    valid_until: Moment | None = None

    def over(self, other: "About") -> "About":
        """What this says, and where it says nothing, what the other does; scopes of both."""
        said = {name: value for name, value in self if value not in (None, "", ())}
        scopes = tuple(sorted({*self.scopes, *other.scopes}))
        return other.model_copy(update={**said, "scopes": scopes})


ABOUT: TypeAdapter[About] = TypeAdapter(About)


def about(fields: Any) -> About:
    """`About` from plain data; raises `Unreadable`."""
    try:
        return ABOUT.validate_python(fields)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, detail["loc"])) or "front matter"
        raise Unreadable(f"{where}: {detail['msg'].removeprefix('Value error, ')}") from None


@dataclass(frozen=True, slots=True)
class Parsed:
    """One document of a file. `name` is its own where the file names it, else empty.

    `where` is the place in the file, for one that holds many.
    """

    text: str
    about: About = field(default_factory=About)
    name: str = ""
    where: str = ""
