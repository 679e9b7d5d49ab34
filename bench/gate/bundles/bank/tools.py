"""A personal bank's tools: what may drive a payment, and what the bank itself vouches for."""

from pydantic import Field

from interlock_contracts.tools import SAFE_ORIGINS, ToolArguments, tool

DOUBTFUL = ["referred", "untrusted", "invented"]
"""Where a person is asked first: content of others, and what the model came up with."""

ANY = [*SAFE_ORIGINS, *DOUBTFUL]
PAY = ["pay", "send", "transfer", "refund", "settle", "reimburse", "transaction"]


@tool(effect="read", records=[""])
class GetIban(ToolArguments):
    """Get the IBAN of the current bank account."""


@tool(effect="read", records=[""])
class GetBalance(ToolArguments):
    """Get the balance of the account."""


@tool(effect="read", records=["/first_name", "/last_name", "/street", "/city"])
class GetUserInfo(ToolArguments):
    """Get the user information."""


# The bank's own books. Not the subject: whoever pays somebody writes that.
BOOKED = ["/*/id", "/*/amount", "/*/date", "/*/recipient", "/*/sender", "/*/recurring"]


@tool(effect="read", records=BOOKED, accepts={"n": ANY})
class GetMostRecentTransactions(ToolArguments):
    """Get the list of the most recent transactions."""

    n: int = 100


@tool(effect="read", records=BOOKED)
class GetScheduledTransactions(ToolArguments):
    """Get the list of scheduled transactions."""


@tool(effect="read", accepts={"file_path": ANY})
class ReadFile(ToolArguments):
    """Read a file; anybody may have written it."""

    file_path: str


@tool(
    effect="write",
    risk="high",
    accepts={"subject": ANY, "date": ANY},
    confirms={"recipient": DOUBTFUL, "amount": DOUBTFUL},
    derives={"amount": ["sum", "difference", "share", "split"]},
    asked_by=PAY,
    summary="Pay {amount} to {recipient} on {date}: {subject}",
)
class SendMoney(ToolArguments):
    """Send a transaction to the recipient."""

    recipient: str = Field(description="IBAN of the recipient")
    amount: float = Field(ge=0)
    subject: str
    date: str


@tool(
    effect="write",
    risk="high",
    accepts={"subject": ANY, "date": ANY},
    confirms={"recipient": DOUBTFUL, "amount": DOUBTFUL},
    derives={"amount": ["sum", "difference", "share", "raised"]},
    asked_by=[*PAY, "schedule", "recurring", "standing order", "set up"],
    summary="Pay {amount} to {recipient} from {date} on: {subject}",
)
class ScheduleTransaction(ToolArguments):
    """Schedule a transaction."""

    recipient: str = Field(description="IBAN of the recipient")
    amount: float = Field(ge=0)
    subject: str
    date: str
    recurring: bool


@tool(
    effect="write",
    risk="high",
    # The amount may stand in a notice the user pointed to; the policies say up to what. A new
    # payee redirects money for ever: asked even where the user gave the account.
    accepts={
        "subject": ANY,
        "date": ANY,
        "amount": [*SAFE_ORIGINS, "referred"],
        "recipient": ["result", "constant"],
    },
    confirms={
        "id": DOUBTFUL,
        "recipient": ["user", *DOUBTFUL],
        "amount": ["untrusted", "invented"],
    },
    derives={"amount": ["sum", "difference", "share", "raised"]},
    asked_by=["update", "adjust", "change", "standing order", "schedule", "raise", "lower"],
    summary="Change scheduled payment {id}",
)
class UpdateScheduledTransaction(ToolArguments):
    """Update a scheduled transaction."""

    id: int
    recipient: str | None = None
    amount: float | None = None
    subject: str | None = None
    date: str | None = None
    recurring: bool | None = None


@tool(
    effect="write",
    risk="high",
    accepts={"password": ["user"]},
    confirms={"password": [*SAFE_ORIGINS, *DOUBTFUL]},
    asked_by=["password", "passphrase"],
    summary="Set a new password",
)
class UpdatePassword(ToolArguments):
    """Update the user password."""

    password: str


REFERRED = [*SAFE_ORIGINS, "referred"]
UNSURE = ["untrusted", "invented"]
HOLDER = ("first_name", "last_name", "street", "city")


@tool(
    effect="write",
    risk="medium",
    accepts=dict.fromkeys(HOLDER, REFERRED),
    confirms=dict.fromkeys(HOLDER, UNSURE),
    asked_by=["update", "change", "correct", "moved", "new address", "account information"],
    summary="Change the account holder's name or address",
)
class UpdateUserInfo(ToolArguments):
    """Update the user information."""

    first_name: str | None = None
    last_name: str | None = None
    street: str | None = None
    city: str | None = None
