"""What an operator asks of every instance of a stage, and what each answers: request-reply."""

from typing import Literal

from pydantic import Field

from interlock_contracts.base import Digest, Model, Token
from interlock_contracts.table import PREPARE_SUBJECT


def prepare_subject(cell: str, service: str) -> str:
    """Where the instances of a service are asked."""
    return f"{cell}.{PREPARE_SUBJECT}.{service}"


class Order(Model):
    """`status`: answer at once. `prepare`: load and test `bundle`, then answer. `follow`: answer
    as soon as activation `number` holds here."""

    do: Literal["status", "prepare", "follow"]
    bundle: Digest | None = None
    number: int = Field(default=0, ge=0)


class Word(Model):
    """One instance's answer. `number` is the activation it follows, 0 for none yet.

    `problem` says why a bundle cannot be used there. `milliseconds` is how long the order took.
    """

    service: Token
    instance: Token
    number: int = Field(ge=0)
    milliseconds: int = Field(ge=0)
    problem: str | None = None

    @property
    def who(self) -> tuple[str, str]:
        """Service and instance."""
        return self.service, self.instance
