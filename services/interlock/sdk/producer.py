"""The producer's client: submit a request, follow it to its one answer.

    async with await Producer.connect(url, Path("producer-acme.nk")) as producer:
        answer = await producer.ask("Where is my order A-1001?", user="ana", role="customer")

The answer is read from the log, never from the wire alone: what the broker hands out live is
only the hint that it is worth looking.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import nats.errors
from nats.aio.msg import Msg
from pydantic import ValidationError

from interlock.runtime.broker.connect import BrokerClient
from interlock.runtime.broker.topology import stream_name
from interlock.runtime.commit import EXPECT_NEW, Committed
from interlock.runtime.errors import RetryLater, UserError
from interlock.sdk.rejected import reasons
from interlock.sdk.tenant import TenantClient
from interlock_contracts.actions import Confirm, Decided, Notice
from interlock_contracts.answer import Answer
from interlock_contracts.event import Event, InvalidEvent, parse_data
from interlock_contracts.failures import FailureCode
from interlock_contracts.ids import new_request_id
from interlock_contracts.privacy import restore_model, values_in
from interlock_contracts.request import Principal, Request, Turn
from interlock_contracts.subjects import LIVE_CELL, Subject
from interlock_contracts.table import EVENT

_LOOK_AGAIN_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
"""How long to wait between looks once there is a hint; the last one repeats without one."""


class RequestConflict(UserError):
    """The request id has been used for a different request."""


class RequestRejected(UserError):
    """The request breaks the contract; it was not sent."""


class NoAnswer(UserError):
    """There was no answer in time. The request stays on the log and may still be answered.

    `waiting_for` is the last notice that a person is asked, if there was one.
    """

    waiting_for: Notice | None = None


@dataclass(slots=True)
class _Following:
    """Somebody waits for news of one request."""

    news: asyncio.Event = field(default_factory=asyncio.Event)
    steps: dict[str, set[str]] = field(default_factory=dict)


class Producer(TenantClient):
    """Submits the requests of one tenant, with its credential (`producer-<tenant>.nk`)."""

    _USER_PREFIX = "producer-"

    def __init__(self, client: BrokerClient, tenant: str, *, cell: str = LIVE_CELL) -> None:
        super().__init__(client, tenant, cell=cell)
        self._following: dict[str, _Following] = {}
        self._get = f"$JS.API.DIRECT.GET.{stream_name(cell)}"

    async def _begin(self) -> None:
        for event in ("answer", "confirm", "notice"):
            subject = f"{self._cell}.{event}.{self.tenant}.>"
            await self._client.subscribe_checked(subject, cb=self._hint)

    async def ask(
        self,
        text: str,
        *,
        user: str,
        role: str,
        scopes: Sequence[str] = (),
        history: Sequence[Turn] = (),
        request_id: str | None = None,
        timeout: float = 30.0,  # noqa: ASYNC109  # also the request's deadline
    ) -> Answer:
        """Submit a request and wait for its answer.

        `timeout` in seconds is the request's deadline too. Submitting again with the same
        `request_id` gives the same answer and runs nothing twice.

        Raises:
            RequestRejected, RequestConflict, NoAnswer, PermissionDenied.
        """
        request = self.request(
            text,
            user=user,
            role=role,
            scopes=scopes,
            history=history,
            request_id=request_id,
            timeout=timeout,
        )
        await self.submit(request)
        return await self.answer(request.request_id, timeout=timeout)

    def request(
        self,
        text: str,
        *,
        user: str,
        role: str,
        scopes: Sequence[str] = (),
        history: Sequence[Turn] = (),
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> Request:
        """A request of this tenant; `timeout` seconds from now is its deadline.

        Raises:
            RequestRejected: it breaks the contract; the message says where.
        """
        deadline = None if timeout is None else datetime.now(UTC) + timedelta(seconds=timeout)
        try:
            return Request(
                request_id=request_id or new_request_id(),
                tenant=self.tenant,
                principal=Principal(user=user, role=role, scopes=tuple(scopes)),
                text=text,
                history=tuple(history),
                deadline=deadline,
            )
        except ValidationError as error:
            raise RequestRejected(reasons(error, "request")) from None

    async def submit(self, request: Request) -> bool:
        """Put a request on the log; True if it is new, False if the same one stands there.

        Returns when it is durable.

        Raises:
            RequestConflict: another request has this id.
            RetryLater: the broker did not answer; submitting the same request again is safe.
        """
        body = request.model_dump_json().encode()
        address = Subject(self._cell, "request", self.tenant, request.request_id, "0")
        try:
            parse_data(EVENT["request"], body)
        except InvalidEvent as error:
            raise RequestRejected(error.message) from None
        if await self._committer.commit_wire([(str(address), body, EXPECT_NEW)]) is Committed.NEW:
            return True
        try:
            standing = await self._fetch("request", request.request_id, "0")
        except (nats.errors.TimeoutError, nats.errors.NoRespondersError):
            raise RetryLater(FailureCode.STAGE_FAILED, "the log did not answer") from None
        same = {"deadline": None}
        if (
            standing is None
            or not isinstance(standing.data, Request)
            or standing.data.model_copy(update=same) != request.model_copy(update=same)
        ):
            raise RequestConflict(
                f"request {request.request_id} stands on the log with another content; "
                "use a new request_id"
            )
        return False

    async def answer(self, request_id: str, *, timeout: float = 30.0) -> Answer:  # noqa: ASYNC109
        """Wait for the answer to a request that was submitted; raises `NoAnswer`."""
        waiting = None
        try:
            async with asyncio.timeout(timeout):
                async for event in self.follow(request_id):
                    if isinstance(event.data, Answer):
                        return event.data
                    if isinstance(event.data, Notice):
                        waiting = event.data
        except TimeoutError:
            pass
        who = {"confirm": "the requester's confirmation", "review": "a reviewer"}
        told = "" if waiting is None else f"; it waits for {who[waiting.waiting_for]}"
        none = NoAnswer(f"no answer to request {request_id} within {timeout:g} s{told}")
        none.waiting_for = waiting
        raise none

    async def follow(self, request_id: str, attempt: int = 0) -> AsyncIterator[Event]:
        """What the producer may see of a request, in order: notices, questions, the answer.

        Ends with the answer. `attempt` is the number of an operator's retry. Placeholders for
        personal data are filled in from the request.
        """
        following = self._following.setdefault(request_id, _Following())
        following.steps.setdefault("answer", set()).add(str(attempt))
        seen: set[tuple[str, str]] = set()
        looks = 0
        try:
            while True:
                following.news.clear()
                expected = [
                    (kind, step)
                    for kind in ("notice", "confirm", "answer")
                    for step in sorted(following.steps.get(kind, ()))
                    if (kind, step) not in seen
                ]
                hinted = bool(looks)
                for kind, step in expected:
                    event = await self._read(kind, request_id, step)
                    if event is None:
                        continue
                    seen.add((kind, step))
                    yield await self._filled(event, request_id)
                    if kind == "answer":
                        return
                pause = _LOOK_AGAIN_S[min(looks, len(_LOOK_AGAIN_S) - 1)] if hinted else 1.0
                looks = looks + 1 if hinted else 0
                try:
                    await asyncio.wait_for(following.news.wait(), pause)
                except TimeoutError:
                    continue
                looks = 1
        finally:
            self._following.pop(request_id, None)

    async def decide(
        self, confirm: Confirm, request_id: str, *, approve: bool, user: str, note: str = ""
    ) -> None:
        """Tell the gate what the requester decided; it counts once, for exactly this action."""
        decision = Decided(
            action=confirm.action,
            decision="approve" if approve else "deny",
            digest=confirm.digest,
            by=user,
            note=note,
        )
        address = Subject(self._cell, "confirmed", self.tenant, request_id, confirm.action)
        body = decision.model_dump_json().encode()
        if await self._committer.commit_wire([(str(address), body, EXPECT_NEW)]) is not (
            Committed.NEW
        ):
            raise RequestConflict(f"action {confirm.action} has been decided before")

    async def _hint(self, message: Msg) -> None:
        tokens = message.subject.split(".")
        following = self._following.get(tokens[3]) if len(tokens) >= 5 else None
        if following is not None:
            following.steps.setdefault(tokens[1], set()).add(tokens[4])
            following.news.set()

    async def _filled(self, event: Event, request_id: str) -> Event:
        """The event with the values for its placeholders, which only the request has."""
        personal = getattr(event.data, "personal", ())
        if not personal:
            return event
        request = await self._read("request", request_id, "0")
        if request is None or not isinstance(request.data, Request):
            return event
        history = [turn.text for turn in request.data.history]
        values = values_in(request.data.text, history, personal)
        return replace(event, data=restore_model(event.data, values))

    async def _read(self, event: str, request_id: str, step: str) -> Event | None:
        """The event on the log, or None as long as it is not committed or nobody answers."""
        try:
            return await self._fetch(event, request_id, step)
        except (nats.errors.TimeoutError, nats.errors.NoRespondersError):
            return None

    async def _fetch(self, event: str, request_id: str, step: str) -> Event | None:
        address = Subject(self._cell, event, self.tenant, request_id, step)
        reply = await self._client.request(f"{self._get}.{address}", b"", timeout=2.0)
        headers = dict(reply.headers or {})
        if headers.get("Status"):
            return None
        return Event.decode(
            str(address), headers, reply.data, sequence=int(headers["Nats-Sequence"])
        )
