"""What is done to the record itself: contents erased or expired, holds, exports in the clear."""

from typing import Literal

from pydantic import Field

from interlock_contracts.base import CleanText, Model, Name, Time, Token

Act = Literal["erased", "expired", "held", "released", "exported"]


class Custody(Model):
    """An order about the record: who gave it, and why. Says nothing that a person wrote.

    `erased`: the contents of this request, or of this document, are unreadable for ever.
    `expired`: those of a tenant's `events` logged before `until`, `count` of them. `held` until
    `released`: neither happens to a tenant, or to one person of it. `exported`: records are given
    away readable, and no erasure reaches those.
    A person is named by a pseudonym, `data_subject`. With `document` it is that document which was
    erased, and its words in this request.
    """

    act: Act
    by: Name
    reason: CleanText = ""
    data_subject: Token | None = None
    events: tuple[Token, ...] = ()
    until: Time | None = None
    count: int | None = Field(default=None, ge=0)
    document: Name | None = Field(default=None, exclude_if=lambda name: name is None)
