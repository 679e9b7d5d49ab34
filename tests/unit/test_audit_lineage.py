"""What a document influenced is found, all of it and nothing else; so is what led to an action."""

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contracts.goldens import golden_event
from tests.support.audit import Place, files, message

from interlock.audit_sink.lineage import executed, influenced, leading_to
from interlock.audit_sink.query import Kept
from interlock.audit_sink.stage import AuditRecord, Message, decide
from interlock.audit_sink.story import tell
from interlock_contracts.table import EVENT

POISONED, CLEAN = "sha256:" + "bad0" * 16, "sha256:" + "900d" * 16
KEY = "a" * 64

Written = tuple[AuditRecord, bool]
"""A record, and whether the poisoned document touched it."""


class World:
    """A log that requests are written to, in turns."""

    def __init__(self) -> None:
        self.log: list[Written] = []

    def write(
        self, request: str, event: str, step: str, data: object, cause: str = "", bad: bool = False
    ) -> str:
        """Log one event; its id."""
        number = len(self.log) + 1
        subject = f"ev.{event}.acme.{request}.{step}"
        record = message(number, subject, data, cause=cause)
        self.log.append((record, bad))
        return record.id

    def request(
        self, request: str, user: str, documents: list[str], quotes: str = "", bad: bool = False
    ) -> Iterator[None]:
        """One request with a context for each document (the later ones of retries), and for each
        an action that a person approved."""
        history = [{"role": "assistant", "text": quotes}] if quotes else []
        data = {"principal": {"user": user}, "history": history}
        asked = self.write(request, "request", "0", data, bad=bad)
        yield
        routed = self.write(request, "route", "0", {}, asked, bad)
        yield
        for number, document in enumerate(documents):
            yield from self._answered(request, number, document, routed, bad)

    def _answered(
        self, request: str, number: int, document: str, routed: str, bad: bool
    ) -> Iterator[None]:
        bad = bad or document == POISONED
        step, tool = f"{number}-0", f"tool{number}"
        chunks = [{"document_id": "doc", "version": document, "digest": document + "x"}]
        found = {"context": {"chunks": chunks}}
        cause = self.write(request, "context", str(number), found, routed, bad)
        yield
        cause = self.write(request, "proposal", str(number), {}, cause, bad)
        yield
        self.write(request, "verdict", str(number), {}, cause, bad)
        self.write(request, "review", step, {"tool": tool}, cause, bad)
        self.write(request, "notice", step, {}, "", bad)
        yield
        cause = self.write(request, "reviewed", f"{step}.anna", {}, "", bad)
        yield
        cause = self.write(request, "approved", f"{step}.{tool}", {}, cause, bad)
        self.write(request, "reserved", f"{KEY}.{tool}", {}, "", bad)
        yield
        cause = self.write(request, "result", f"{step}.{tool}", {"effect": "landed"}, cause, bad)
        text = {"text": f"it is done, {request}", "status": "answered"}
        self.write(request, "answer", str(number), text, cause, bad)


def name(number: int) -> str:
    return f"01JD{number:022}"


def said(number: int) -> str:
    """What the answer of a request says."""
    return f"it is done, {name(number)}"


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    plans=st.lists(st.lists(st.booleans(), min_size=1, max_size=3), min_size=1, max_size=6),
    chance=st.randoms(use_true_random=False),
)
def test_a_poisoned_document_is_found_wherever_it_was_and_nowhere_else(
    tmp_path_factory: pytest.TempPathFactory, plans: list[list[bool]], chance: random.Random
) -> None:
    world = World()
    going = [
        world.request(name(n), f"user{n}", [POISONED if bad else CLEAN for bad in plan])
        for n, plan in enumerate(plans)
    ]
    while going:
        one = chance.choice(going)
        if next(one, "over") == "over":
            going.remove(one)
    place = stored(tmp_path_factory.mktemp("lineage"), world)
    assert found(place, POISONED) == {r.sequence for r, bad in world.log if bad}
    assert found(place, CLEAN).isdisjoint(found(place, POISONED))


def stored(folder: Path, world: World) -> Place:
    place = files(folder)
    with closing(place.store()) as store:
        store.append([record for record, _ in world.log])
    return place


def found(place: Place, document: str) -> set[int]:
    with place.reader() as reader:
        touched = [one.record.sequence for one in influenced(reader, document)]
    assert len(touched) == len(set(touched))
    return set(touched)


def test_an_answer_lives_on_where_the_same_person_quotes_it(tmp_path: Path) -> None:
    world = World()
    for request in (
        world.request(name(1), "maria", [POISONED]),
        world.request(name(2), "maria", [CLEAN], quotes=said(1), bad=True),
        world.request(name(3), "maria", [CLEAN], quotes=said(2), bad=True),
        world.request(name(4), "maria", [CLEAN], quotes="something else"),
        world.request(name(5), "otto", [CLEAN], quotes=said(1)),
    ):
        assert list(request)
    place = stored(tmp_path, world)
    assert found(place, POISONED) == {record.sequence for record, bad in world.log if bad}


def test_what_led_to_an_action_and_what_came_of_it(tmp_path: Path) -> None:
    world = World()
    assert list(world.request(name(1), "maria", [CLEAN, POISONED]))
    place = stored(tmp_path, world)
    with place.reader() as reader:
        grant = reader.find(f"ev.approved.acme.{name(1)}.1-0.tool1")
        assert grant is not None
        told = [(one.event, one.subject.split(".", 4)[4]) for one in leading_to(reader, grant)]
        done = [one for one in influenced(reader, POISONED) if executed(one)]
    assert told == [
        ("request", "0"),
        ("route", "0"),
        ("context", "1"),
        ("proposal", "1"),
        ("verdict", "1"),
        ("review", "1-0"),
        ("reviewed", "1-0.anna"),
        ("approved", "1-0.tool1"),
        ("reserved", f"{KEY}.tool1"),
        ("result", "1-0.tool1"),
    ]
    assert [one.record.facets["tool"] for one in done] == [["tool1"]]


def golden_store(folder: Path) -> Place:
    """The goldens' one story, as it is logged."""
    records = []
    for number, spec in enumerate(EVENT, 1):
        event = golden_event(spec)
        at = event.logged_at
        assert at is not None
        records.append(
            decide(Message(str(event.subject), event.headers(), event.body(), number, at))
        )
    place = files(folder)
    with closing(place.store()) as store:
        store.append(records)
    return place


def kept(place: Place, event: str) -> Kept:
    (record,) = place.select(event=event)
    return record


def test_the_story_says_why(tmp_path: Path) -> None:
    place = golden_store(tmp_path)
    told = {event: "\n".join(tell(kept(place, event))) for event in EVENT}
    assert "nadia.okafor (customer) asked by web: The blender" in told["request"]
    assert "refund" in told["route"]
    assert "'refund' (high risk, 0.91), and ended it" in told["declined"]
    assert "held to the overrides no-refunds-by-web" in told["declined"]
    assert "c1 from help/refunds.md (trusted" in told["context"]
    assert "to call create_refund(" in told["proposal"]
    assert "comes from" in told["verdict"]
    assert "policies" in told["verdict"]
    assert "fact" in told["verdict"]
    assert "approved create_refund(" in told["approved"]
    assert "landed" in told["result"]
    assert all(text.strip() and "\n\n" not in text for text in told.values())


def test_how_a_document_was_used_is_told_apart(tmp_path: Path) -> None:
    place = golden_store(tmp_path)
    context = kept(place, "context")
    with place.reader() as reader:
        used = {one.record.event: one.how for one in influenced(reader, "help/refunds.md")}
        again = {one.record.event for one in influenced(reader, context.facets["chunk"][0])}
    assert used["context"] == "retrieved"
    assert used["answer"] == "cited"
    assert {"proposal", "verdict", "approved", "result", "answer"} <= set(used)
    assert again == set(used)
    assert not {"request", "route"} & set(used)
