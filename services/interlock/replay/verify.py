"""Verification of one request: every stage again over its recorded inputs, compared with the log.

Outputs are compared by id, subject and the digest of their data. What people, producers and
operators sent is input. Of what no stage makes:

- A dead letter is reproduced if its stage fails with the same code again. If the code speaks of
  the world (a crash, an engine or a model that did not answer), it is accepted as recorded.
- The answer that tells of a dead letter, or of a deadline, is made again from what is recorded of
  it: the letter's reason, or the moment the answer was decided.
- A reservation is accepted as recorded if its grant stands: it is part of running the tool.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from interlock.replay.asking import Ask, searching_stage
from interlock.replay.difference import first_difference
from interlock.replay.log import Entry, MemoryLog, Unreadable, decided_at
from interlock.replay.recorded import PinnedBundles, recorded_stage
from interlock.replay.report import Divergence, Verification
from interlock.runtime.dead_letters import refusal
from interlock.runtime.decision import Decider
from interlock.runtime.errors import RetryLater
from interlock.runtime.stage import Bundles, Decide
from interlock_contracts.actions import Grant, Reservation
from interlock_contracts.answer import Answer, DeadLetter
from interlock_contracts.canonical import digest
from interlock_contracts.custody import Custody
from interlock_contracts.event import Event, InvalidEvent
from interlock_contracts.failures import FailureCode
from interlock_contracts.subjects import Subject
from interlock_contracts.table import BESIDE, SERVICES, STAGES, STAGES_OF, Actor

OF_THE_WORLD = frozenset(
    {
        FailureCode.STAGE_FAILED,
        FailureCode.RETRIES_EXHAUSTED,
        FailureCode.MODEL_UNAVAILABLE,
        FailureCode.BUNDLE_UNKNOWN,
        FailureCode.EFFECT_IN_DOUBT,
        FailureCode.GRANT_INVALID,
        FailureCode.GRANT_EXPIRED,
    }
)
"""Codes of dead letters that a replay cannot bring about again. A grant's are among them because
they depend on the keys and the clock of the executor."""


INDEX = "/context/record/index"
"""Where a context says which index was searched."""


async def verify_request(
    events: Sequence[Entry], bundles: Bundles, ask: Ask | None = None
) -> Verification:
    """Run every stage of one request again and compare.

    `events` are all that the log holds of it, in order; `bundles` knows the bundles it pinned.
    With `ask` its searches are asked again, else they are as recorded.
    Never raises for what the events say: what cannot be run is a divergence.
    """
    log = MemoryLog(events)
    pinned = PinnedBundles(bundles, log)
    await pinned.pin()
    check = _Check(log, pinned, _letters(log), ask)
    for entry in check.log.entries:
        for actor, stage in _consumers(entry):
            if isinstance(entry, Unreadable):
                check.unreadable(entry, stage)
            else:
                await check.replay(entry, actor, stage)
    check.leftovers()
    return Verification(
        events=len(check.log.entries),
        reproduced=len(check.reproduced),
        accepted=tuple(sorted(check.accepted)),
        pending=() if check.erased_documents else tuple(check.pending),
        erased=check.erased,
        erased_documents=check.erased_documents,
        divergences=tuple(sorted(check.divergences, key=lambda one: one.position)),
    )


@dataclass(slots=True)
class _Check:
    """What is known so far. `claimed` are the subjects that somebody accounts for."""

    log: MemoryLog
    bundles: PinnedBundles
    letters: dict[tuple[str, str], Event]
    ask: Ask | None = None
    reproduced: set[str] = field(default_factory=set)
    accepted: set[str] = field(default_factory=set)
    claimed: set[str] = field(default_factory=set)
    pending: list[str] = field(default_factory=list)
    divergences: list[Divergence] = field(default_factory=list)
    _deciders: dict[str, Decider] = field(default_factory=dict)

    async def replay(self, event: Event, actor: Actor, stage: str) -> None:
        """One stage over one of its inputs."""
        stage = self._executor_of(event) if event.subject.event == "approved" else stage
        decider = self._decider(actor, stage, event.subject.cell)
        letter = self._letter(stage, str(event.subject))
        now = decided_at(self.log, stage, event)
        try:
            made = await decider.follow(event, now)
        except (InvalidEvent, RetryLater) as error:
            self._failed(event, stage, letter, error.code, error.message)
            return
        except Exception as error:  # a stage that breaks on its input is a finding, not a crash
            reason = f"{type(error).__name__} in the stage"
            self._failed(event, stage, letter, FailureCode.STAGE_FAILED, reason)
            return
        if letter is not None and letter.subject not in [one.subject for one in made]:
            self._died(letter, decider, None)
            made = [one for one in made if 0 <= self._position(one) < self._position(letter)]
        self._outcome(event, stage, made)

    def unreadable(self, entry: Unreadable, stage: str) -> None:
        """A message that is no event: nothing but its dead letter follows."""
        letter = self._letter(stage, entry.text)
        if letter is None:
            self.pending.append(entry.text)
            return
        address = letter.subject
        self._died(letter, self._decider(Actor(stage), stage, address.cell), entry.error.code)

    @property
    def erased(self) -> bool:
        """Whether the request was erased: of what it was, the reservations are left."""
        return bool(self._erasures())

    @property
    def erased_documents(self) -> tuple[str, ...]:
        """The documents whose erasure took what the request made of them."""
        named = {order.document for order in self._erasures() if order.document is not None}
        return tuple(sorted(named))

    def _erasures(self) -> list[Custody]:
        orders = (entry.data for entry in self.log.entries if isinstance(entry, Event))
        return [one for one in orders if isinstance(one, Custody) and one.act == "erased"]

    def leftovers(self) -> None:
        """What is on the log and nobody made again."""
        for entry in self.log.entries:
            if not isinstance(entry, Event) or str(entry.subject) in self.claimed:
                continue
            if entry.spec.owner not in SERVICES or entry.spec.name in BESIDE:
                continue
            if isinstance(entry.data, Reservation) and (
                self.erased or self._granted(entry.subject, entry.data)
            ):
                self.accepted.add(str(entry.subject))
                continue
            self._diverged(entry.source[1:], entry.subject, "", "the event", "nothing")

    def _outcome(self, event: Event, stage: str, made: Sequence[Event]) -> None:
        standing = [(one, self.log.get(one.subject)) for one in made]
        ours = [found for one, found in standing if found and self._is_of(found, one, event)]
        if not ours:
            if not made or any(found is not None for _, found in standing):
                return  # somebody else was first: of a decision all is stored, or nothing
            if self._waits(event):
                self.pending.append(str(event.subject))
                return
        behind = ours[-1].subject if ours else event.subject
        for one, found in standing:
            if found is None and one.spec.shared:
                continue  # filed under its ledger; all it says stands in the verdict
            if found is None:
                self._diverged(stage, one.subject, "", "nothing", "the event", behind)
            else:
                self._compare(stage, found, one)

    def _compare(self, stage: str, recorded: Event, replayed: Event) -> None:
        self.claimed.add(str(recorded.subject))
        if recorded.body() != replayed.body() and digest(recorded.data) != digest(replayed.data):
            before, now = (one.data.model_dump(mode="json") for one in (recorded, replayed))
            found = _of_another_index(before, now) or first_difference(before, now)
            found = found or ("", digest(before), digest(now))
            self._diverged(stage, recorded.subject, *found)
        elif recorded.id != replayed.id:
            self._diverged(stage, recorded.subject, "id", recorded.id, replayed.id)
        elif recorded.bundle != replayed.bundle:
            self._diverged(stage, recorded.subject, "bundle", recorded.bundle, replayed.bundle)
        else:
            self.reproduced.add(str(recorded.subject))

    def _failed(
        self, event: Event, stage: str, letter: Event | None, code: FailureCode, message: str
    ) -> None:
        if letter is not None:
            self._died(letter, self._deciders[stage], code)
            return
        followed = self.log.followed(stage, event)
        if followed is not None:
            self.claimed.add(str(followed.subject))
            reason = f"{code}: {message}"
            self._diverged(stage, followed.subject, "", "the event", reason)
        elif self.erased_documents or self._waits(event):
            self.pending.append(str(event.subject))
        else:
            self._diverged(stage, event.subject, "", "an outcome", f"{code}: {message}")

    def _died(self, letter: Event, decider: Decider, code: FailureCode | None) -> None:
        """Judge a dead letter, and the answer that tells the producer of it."""
        data = letter.data
        assert isinstance(data, DeadLetter)
        self.claimed.add(str(letter.subject))
        if code is data.failure.code:
            self.reproduced.add(str(letter.subject))
        elif data.failure.code in OF_THE_WORLD:
            self.accepted.add(str(letter.subject))
        else:
            came = "no failure" if code is None else code.value
            where = (letter.subject, "/failure/code", data.failure.code.value, came)
            self._diverged(decider.stage, *where)
        tokens = data.subject.split(".")
        about = letter.subject
        if len(tokens) < 5:
            return
        about = Subject(tokens[0], tokens[1], about.tenant, about.request_id, tokens[4])
        attempt = int(about.step) if about.event == "retry" and about.step.isdigit() else 0
        draft = refusal(about, attempt, data.failure, data.headers.get("ce-bundle"))
        if draft is None or letter.cause is None:
            return
        made = decider.finish(draft, about, letter.cause, letter.time)
        found = self.log.get(made.subject)
        if found is not None and found.source == made.source and found.cause == letter.cause:
            self._compare(decider.stage, found, made)

    def _is_of(self, found: Event, made: Event, event: Event) -> bool:
        """Whether what stands can be what this very input led to."""
        after = self._position(found) > self.log.position(event.subject)
        return found.source == made.source and found.cause == made.cause and after

    def _letter(self, stage: str, subject: str) -> Event | None:
        """The dead letter of `stage` about the message on `subject`."""
        return self.letters.get((stage, subject))

    def _executor_of(self, grant: Event) -> str:
        """The stage that took a grant: a further executor writes its results in its own name."""
        for entry in self.log.entries:
            if (
                isinstance(entry, Event)
                and entry.cause == grant.id
                and entry.subject.event in ("result", "dead")
            ):
                return entry.source[1:]
        return Actor.TOOL_EXECUTOR.value

    def _granted(self, at: Subject, claim: Reservation) -> bool:
        place = Subject(at.cell, "approved", at.tenant, at.request_id, claim.action, claim.tool)
        found = self.log.get(place)
        return (
            found is not None
            and isinstance(found.data, Grant)
            and found.data.effect_key == claim.effect_key == at.step
        )

    def _waits(self, event: Event) -> bool:
        """Whether the request may still be under way at this event: nothing was answered since."""
        here = self.log.position(event.subject)
        return not any(
            isinstance(entry, Event) and isinstance(entry.data, Answer)
            for entry in self.log.entries[here + 1 :]
        )

    def _position(self, event: Event) -> int:
        return self.log.position(event.subject)

    def _decider(self, actor: Actor, stage: str, cell: str) -> Decider:
        if stage not in self._deciders:
            decide: Decide = recorded_stage(actor, self.log)
            if actor is Actor.RETRIEVER and self.ask is not None:
                decide = searching_stage(self.ask, self.log)
            bundles = None if actor is Actor.TOOL_EXECUTOR else self.bundles
            self._deciders[stage] = Decider(stage, decide, cell=cell, bundles=bundles, log=self.log)
        return self._deciders[stage]

    def _diverged(
        self,
        stage: str,
        subject: Subject,
        pointer: str,
        recorded: Any,
        replayed: Any,
        after: Subject | None = None,
    ) -> None:
        """`after` orders what is not on the log: behind the event it follows from."""
        position = self.log.position(after or subject)
        self.divergences.append(
            Divergence(stage, str(subject), pointer, recorded, replayed, position)
        )


def _of_another_index(before: Any, now: Any) -> tuple[str, Any, Any] | None:
    """Of two contexts from different indexes, the indexes: all the rest follows from that."""
    try:
        then, here = (one["context"]["record"]["index"] for one in (before, now))
    except (KeyError, TypeError):
        return None
    return None if then == here else (INDEX, then, here)


def _letters(log: MemoryLog) -> dict[tuple[str, str], Event]:
    """The first dead letter by its stage and the subject of the message it is about."""
    found: dict[tuple[str, str], Event] = {}
    for entry in log.entries:
        if isinstance(entry, Event) and isinstance(entry.data, DeadLetter):
            found.setdefault((entry.data.stage, entry.data.subject), entry)
    return found


def _consumers(entry: Entry) -> list[tuple[Actor, str]]:
    """The stages that an entry of the log is input of: the actor, and its name."""
    address = entry.subject if isinstance(entry, Event) else entry.address
    if address is None:
        return []
    if address.event == "retry" and address.tail is not None:
        known = address.tail in STAGES
        return [(Actor(address.tail) if known else Actor.TOOL_EXECUTOR, address.tail)]
    return [(actor, actor.value) for actor in STAGES_OF.get(address.event, ())]
