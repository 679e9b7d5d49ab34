"""A booking system over the recorded database: what the fact tools of the bundle answer."""

import copy
import json
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from interlock_contracts.answer import FactReply

NOW = datetime(2024, 5, 15, 15, 0)
"""The moment all recordings play at (EST)."""

FREE_BAGS = {
    "regular": {"basic_economy": 0, "economy": 1, "business": 2},
    "silver": {"basic_economy": 1, "economy": 2, "business": 3},
    "gold": {"basic_economy": 2, "economy": 3, "business": 3},
}
BAG_CENTS, INSURANCE_CENTS = 5_000, 3_000

Record = dict[str, Any]


class Airline:
    """The database as one run changes it, and quotes about it. Money in cents."""

    def __init__(self, users: Record, flights: Record, reservations: Record) -> None:
        self._users = copy.deepcopy(users)
        self._flights = flights
        self._reservations = dict(reservations)
        self._quotes: dict[str, Callable[[Record], Record]] = {
            "quote_booking": self.booking,
            "quote_change": self.change,
            "quote_baggages": self.baggages,
            "quote_cancellation": self.cancellation,
            "quote_passengers": self.passengers,
            "compensation_due": self.compensation,
        }

    @classmethod
    def read(cls, folder: Path) -> "Airline":
        """The database at the start of every run."""
        names = ("users", "flights", "reservations")
        return cls(*(json.loads((folder / f"{name}.json").read_text("utf-8")) for name in names))

    def again(self) -> "Airline":
        """The same database, for a run of its own."""
        return Airline(self._users, self._flights, self._reservations)

    async def ask(self, _tenant: str, _request: str, tool: str, arguments: Record) -> FactReply:
        """A fact, as the gate asks for it."""
        try:
            return FactReply(value=self._quotes[tool](arguments))
        except LookupError as error:
            return FactReply(error=f"{tool}: there is no {error}")

    def apply(self, tool: str, text: str) -> None:
        """What a recorded write changed: the reservation it gave back, and what was paid."""
        try:
            given = json.loads(text)
        except ValueError:
            return
        if not isinstance(given, dict) or "reservation_id" not in given:
            return
        before = self._reservations.get(given["reservation_id"])
        self._reservations[given["reservation_id"]] = given
        if tool != "cancel_reservation":
            already = len(before["payment_history"]) if before else 0
            for paid in given["payment_history"][already:]:
                self._pay(given["user_id"], paid["payment_id"], paid["amount"])
        if tool == "book_reservation":
            self._users[given["user_id"]]["reservations"].append(given["reservation_id"])

    def _pay(self, user: str, payment: str, amount: float) -> None:
        means = self._users[user]["payment_methods"]
        found = means.get(payment, {})
        if found.get("source") == "certificate":
            del means[payment]
        elif found.get("source") == "gift_card":
            found["amount"] -= amount

    def _day(self, leg: Mapping[str, Any]) -> Record:
        day: Record = self._flights[leg["flight_number"]]["dates"].get(leg["date"], {})
        return day

    def _fits(self, legs: list[Record], origin: str, destination: str, kind: str) -> bool:
        """Whether the legs join up, in time, from origin to destination (and back)."""
        known = [self._flights.get(leg["flight_number"]) for leg in legs]
        if not legs or None in known:
            return False
        places = [(flight["origin"], flight["destination"]) for flight in known if flight]
        joined = all(a[1] == b[0] for a, b in pairwise(places))
        ordered = all(a["date"] <= b["date"] for a, b in pairwise(legs))
        through = {place[1] for place in places}
        end = origin if kind == "round_trip" else destination
        ends = places[0][0] == origin and places[-1][1] == end and destination in through
        return joined and ordered and ends

    def _bookable(self, legs: list[Record], cabin: str, seats: int) -> bool:
        days = [self._day(leg) for leg in legs]
        return all(
            day.get("status") == "available" and day["available_seats"][cabin] >= seats
            for day in days
        )

    def _free_bags(self, user: str, cabin: str, passengers: int) -> int:
        return FREE_BAGS[self._users[user]["membership"]][cabin] * passengers

    def booking(self, asked: Record) -> Record:
        """`BookingQuote`."""
        count, cabin, legs = len(asked["passengers"]), asked["cabin"], asked["flights"]
        user = self._users[asked["user_id"]]
        fits = self._fits(legs, asked["origin"], asked["destination"], asked["flight_type"])
        bookable = fits and self._bookable(legs, cabin, count)
        means, used = user["payment_methods"], asked["payment_methods"]
        known = [means[one["payment_id"]] for one in used if one["payment_id"] in means]
        fare = sum(self._day(leg)["prices"][cabin] for leg in legs) * count if bookable else 0
        insurance = INSURANCE_CENTS * count if asked["insurance"] == "yes" else 0
        sources = Counter(one["source"] for one in known)
        free = self._free_bags(asked["user_id"], cabin, count)
        return {
            "customer_known": True,
            "route_fits": fits,
            "bookable": bookable,
            "means_known": len(known) == len(used),
            "balances_suffice": all(
                means.get(one["payment_id"], {}).get("amount", one["amount"]) >= one["amount"]
                for one in used
            ),
            "certificates": sources["certificate"],
            "credit_cards": sources["credit_card"],
            "gift_cards": sources["gift_card"],
            "passengers": count,
            "due_cents": fare * 100 + insurance + BAG_CENTS * asked["nonfree_baggages"],
            "paid_cents": sum(round(one["amount"] * 100) for one in used),
            "nonfree_bags_due": max(0, asked["total_baggages"] - free),
        }

    def change(self, asked: Record) -> Record:
        """`ChangeQuote`: a leg that is kept in its cabin keeps its price."""
        held, cabin, legs = (
            self._reservations[asked["reservation_id"]],
            asked["cabin"],
            asked["flights"],
        )
        old = {(leg["flight_number"], leg["date"]): leg["price"] for leg in held["flights"]}
        keys = [(leg["flight_number"], leg["date"]) for leg in legs]
        same = cabin == held["cabin"]
        count = len(held["passengers"])
        fresh = [leg for leg, key in zip(legs, keys, strict=True) if not (same and key in old)]
        fits = self._fits(legs, held["origin"], held["destination"], held["flight_type"])
        bookable = fits and self._bookable(fresh, cabin, count)
        price = sum(old[key] for key in keys if same and key in old)
        price += sum(self._day(leg)["prices"][cabin] for leg in fresh) if bookable else 0
        difference = (price - sum(old.values())) * count
        return {
            "owner": held["user_id"],
            "cabin": held["cabin"],
            "flights_change": keys != list(old),
            "route_fits": fits,
            "bookable": bookable,
            **self._means(held["user_id"], asked["payment_id"], difference),
            "difference_cents": difference * 100,
        }

    def _means(self, user: str, payment: str, amount: float) -> Record:
        all_means = self._users[user]["payment_methods"]
        found = all_means.get(payment, {})
        return {
            "means": found.get("source", "unknown"),
            "last_four": found.get("last_four", ""),
            "last_four_of_others": [
                one["last_four"]
                for name, one in all_means.items()
                if name != payment and "last_four" in one
            ],
            "balance_suffices": bool(found) and found.get("amount", amount) >= amount,
        }

    def baggages(self, asked: Record) -> Record:
        """`BaggageQuote`."""
        held = self._reservations[asked["reservation_id"]]
        free = self._free_bags(held["user_id"], held["cabin"], len(held["passengers"]))
        due = max(held["nonfree_baggages"], asked["total_baggages"] - free)
        more = max(0, asked["nonfree_baggages"] - held["nonfree_baggages"]) * BAG_CENTS / 100
        return {
            "owner": held["user_id"],
            "bags_now": held["total_baggages"],
            "nonfree_bags_due": due,
            **self._means(held["user_id"], asked["payment_id"], more),
        }

    def cancellation(self, asked: Record) -> Record:
        """`CancellationQuote`."""
        held = self._reservations[asked["reservation_id"]]
        states = [self._day(leg).get("status") for leg in held["flights"]]
        age = NOW - datetime.fromisoformat(held["created_at"])
        return {
            "owner": held["user_id"],
            "cabin": held["cabin"],
            "insured": held["insurance"] == "yes",
            "cancelled_already": held.get("status") == "cancelled",
            "minutes_since_booking": max(0, age // timedelta(minutes=1)),
            "flown": any(state in ("landed", "flying") for state in states),
            "cancelled_by_airline": "cancelled" in states,
        }

    def passengers(self, asked: Record) -> Record:
        """`PassengersQuote`."""
        held = self._reservations[asked["reservation_id"]]
        return {
            "owner": held["user_id"],
            "passengers": len(held["passengers"]),
            "passengers_wanted": len(asked["passengers"]),
        }

    def compensation(self, asked: Record) -> Record:
        """`Compensation`: for silver and gold members, insured or business reservations."""
        user = self._users[asked["user_id"]]
        found: dict[str, set[int]] = {"cancelled": set(), "delayed": set()}
        for name in user["reservations"]:
            held = self._reservations[name]
            entitled = (
                user["membership"] != "regular"
                or held["insurance"] == "yes"
                or held["cabin"] == "business"
            )
            for leg in held["flights"] if entitled else ():
                state = self._day(leg).get("status")
                if state in found:
                    each = 10_000 if state == "cancelled" else 5_000
                    found[state].add(each * len(held["passengers"]))
        return {
            "for_cancellation_cents": sorted(found["cancelled"]),
            "for_delay_cents": sorted(found["delayed"]),
        }
