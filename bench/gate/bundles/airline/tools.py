"""An airline's booking desk: what may be booked, changed, cancelled and given away.

The `quote_*` and `compensation_due` tools are the booking system's own: they say what an action
would mean (what is due, what has been flown), and the policies judge by that. The model never
states such a thing itself.
"""

from typing import Literal

from pydantic import BaseModel

from interlock_contracts.tools import SAFE_ORIGINS, ToolArguments, fact, tool

ANY = [*SAFE_ORIGINS, "referred", "untrusted", "invented"]
"""Which values are right is judged by the facts here, not by where they were found."""

Cabin = Literal["basic_economy", "economy", "business"]


class FlightOn(BaseModel):
    """One flight on one day."""

    flight_number: str
    date: str


class Passenger(BaseModel):
    """Who flies."""

    first_name: str
    last_name: str
    dob: str


class Payment(BaseModel):
    """What is paid by which means of the profile."""

    payment_id: str
    amount: float


class BookingQuote(BaseModel):
    """What a booking would come to. Money in cents."""

    customer_known: bool
    route_fits: bool
    bookable: bool
    means_known: bool
    balances_suffice: bool
    certificates: int
    credit_cards: int
    gift_cards: int
    passengers: int
    due_cents: int
    paid_cents: int
    nonfree_bags_due: int


class ChangeQuote(BaseModel):
    """What a change of flights or cabin would mean. Money in cents; negative: paid back."""

    owner: str
    cabin: Cabin
    flights_change: bool
    route_fits: bool
    bookable: bool
    means: Literal["unknown", "credit_card", "gift_card", "certificate"]
    last_four: str
    last_four_of_others: list[str]
    balance_suffices: bool
    difference_cents: int


class BaggageQuote(BaseModel):
    """What a change of the checked bags would mean."""

    owner: str
    bags_now: int
    nonfree_bags_due: int
    means: Literal["unknown", "credit_card", "gift_card", "certificate"]
    last_four: str
    last_four_of_others: list[str]
    balance_suffices: bool


class CancellationQuote(BaseModel):
    """What stands for and against cancelling a reservation."""

    owner: str
    cabin: Cabin
    insured: bool
    cancelled_already: bool
    minutes_since_booking: int
    flown: bool
    cancelled_by_airline: bool


class PassengersQuote(BaseModel):
    """How many passengers the reservation has."""

    owner: str
    passengers: int
    passengers_wanted: int


class Compensation(BaseModel):
    """Certificates a customer may be offered, in cents, for any of their reservations."""

    for_cancellation_cents: list[int]
    for_delay_cents: list[int]


@tool(effect="read", returns=BookingQuote, accepts={})
class QuoteBooking(ToolArguments):
    """What this booking would come to."""

    user_id: str
    origin: str
    destination: str
    flight_type: Literal["one_way", "round_trip"]
    cabin: Cabin
    flights: list[FlightOn]
    passengers: list[Passenger]
    payment_methods: list[Payment]
    total_baggages: int
    nonfree_baggages: int
    insurance: Literal["yes", "no"]


@tool(effect="read", returns=ChangeQuote)
class QuoteChange(ToolArguments):
    """What this change of flights or cabin would mean."""

    reservation_id: str
    cabin: Cabin
    flights: list[FlightOn]
    payment_id: str


@tool(effect="read", returns=BaggageQuote)
class QuoteBaggages(ToolArguments):
    """What this change of checked bags would mean."""

    reservation_id: str
    total_baggages: int
    nonfree_baggages: int
    payment_id: str


@tool(effect="read", returns=CancellationQuote)
class QuoteCancellation(ToolArguments):
    """What stands for and against cancelling."""

    reservation_id: str


@tool(effect="read", returns=PassengersQuote)
class QuotePassengers(ToolArguments):
    """What this change of passengers would mean."""

    reservation_id: str
    passengers: list[Passenger]


@tool(effect="read", returns=Compensation)
class CompensationDue(ToolArguments):
    """What this customer may be offered."""

    user_id: str


BOOKING = tuple(QuoteBooking.model_fields)


@tool(
    effect="write",
    risk="high",
    accepts=dict.fromkeys(BOOKING, ANY),
    facts=[fact("quote", get="quote_booking", **{name: name for name in BOOKING})],
    asked_by=["book", "booking", "fly", "flight", "reservation"],
    summary="Book {flights} in {cabin} for {passengers}, paid by {payment_methods}",
)
class BookReservation(ToolArguments):
    """Book a reservation."""

    user_id: str
    origin: str
    destination: str
    flight_type: Literal["one_way", "round_trip"]
    cabin: Cabin
    flights: list[FlightOn]
    passengers: list[Passenger]
    payment_methods: list[Payment]
    total_baggages: int
    nonfree_baggages: int
    insurance: Literal["yes", "no"]


CHANGE = tuple(QuoteChange.model_fields)


@tool(
    effect="write",
    risk="high",
    accepts=dict.fromkeys(CHANGE, ANY),
    facts=[fact("quote", get="quote_change", **{name: name for name in CHANGE})],
    asked_by=["change", "upgrade", "downgrade", "modify", "move", "flight", "cabin"],
    summary="Change {reservation_id} to {flights} in {cabin}, paid by {payment_id}",
)
class UpdateReservationFlights(ToolArguments):
    """Change flights or cabin of a reservation."""

    reservation_id: str
    cabin: Cabin
    flights: list[FlightOn]
    payment_id: str


BAGS = tuple(QuoteBaggages.model_fields)


@tool(
    effect="write",
    risk="medium",
    accepts=dict.fromkeys(BAGS, ANY),
    facts=[fact("quote", get="quote_baggages", **{name: name for name in BAGS})],
    asked_by=["bag", "baggage", "luggage", "suitcase"],
    summary="{total_baggages} bags ({nonfree_baggages} paid for) on {reservation_id}",
)
class UpdateReservationBaggages(ToolArguments):
    """Change the checked bags of a reservation."""

    reservation_id: str
    total_baggages: int
    nonfree_baggages: int
    payment_id: str


@tool(
    effect="write",
    risk="high",
    accepts={"reservation_id": ANY},
    facts=[fact("quote", get="quote_cancellation", reservation_id="reservation_id")],
    asked_by=["cancel", "refund", "drop"],
    summary="Cancel reservation {reservation_id}",
)
class CancelReservation(ToolArguments):
    """Cancel the whole reservation."""

    reservation_id: str


@tool(
    effect="write",
    risk="medium",
    accepts={"reservation_id": ANY, "passengers": ANY},
    facts=[
        fact(
            "quote",
            get="quote_passengers",
            reservation_id="reservation_id",
            passengers="passengers",
        )
    ],
    asked_by=["passenger", "name", "person"],
    summary="Passengers of {reservation_id}: {passengers}",
)
class UpdateReservationPassengers(ToolArguments):
    """Change who flies."""

    reservation_id: str
    passengers: list[Passenger]


@tool(
    effect="write",
    risk="high",
    accepts={"user_id": ANY, "amount": ANY},
    facts=[fact("due", get="compensation_due", user_id="user_id")],
    asked_by=["compensate", "compensation", "voucher", "certificate", "refund", "gesture"],
    summary="Give {user_id} a certificate of {amount} dollars",
)
class SendCertificate(ToolArguments):
    """Send a certificate to a customer."""

    user_id: str
    amount: int


@tool(effect="read", records=[""], accepts={"user_id": ANY})
class GetUserDetails(ToolArguments):
    """Get the details of a customer."""

    user_id: str


@tool(effect="read", records=[""], accepts={"reservation_id": ANY})
class GetReservationDetails(ToolArguments):
    """Get the details of a reservation."""

    reservation_id: str
