"""What personal data is looked for, and what becomes of it: a part of a bundle."""

from typing import Annotated, Literal, get_args

from pydantic import StringConstraints

from interlock_contracts.base import (
    CleanText,
    Model,
)

PersonalKind = Literal[
    "EMAIL", "PHONE", "CARD", "IBAN", "SSN", "IP", "NATIONAL_ID",
    "URL", "NAME", "ADDRESS", "DATE", "AGE", "TITLE",
]  # fmt: skip
"""The kinds of personal data that are recognised without a bundle's own recognisers."""


KINDS: tuple[PersonalKind, ...] = get_args(PersonalKind)


class Recogniser(Model):
    """A kind of personal data of the bundle's own.

    `pattern` is a regular expression (case counts; group 1 is the value if there is one), and
    `checksum` what the value must also pass: `luhn`, or `mod97` (ISO 7064).
    """

    kind: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]{0,31}$")]
    pattern: CleanText
    checksum: Literal["luhn", "mod97"] | None = None


class PrivacySpec(Model):
    """Which personal data is replaced by placeholders before anybody but the router sees it.

    `allow` are patterns (case ignored) of what is never personal here, such as order numbers
    that look like telephone numbers.
    """

    kinds: tuple[PersonalKind, ...] = KINDS[:7]
    recognisers: tuple[Recogniser, ...] = ()
    allow: tuple[CleanText, ...] = ()
