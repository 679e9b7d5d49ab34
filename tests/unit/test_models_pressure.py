"""How a candidate is pressed: its time, its slots, and the pause after it failed too often."""

import asyncio

import pytest

from interlock.bundles.model import OutputContract
from interlock.bundles.routes import ModelCandidate
from interlock.models.port import Model, ModelPassed, ModelRequest, ModelResponse
from interlock.models.pressure import Gauge
from interlock.models.routes import ModelRoutes
from interlock.runtime.errors import RetryLater, SlowDown
from interlock_contracts.case import Case
from interlock_contracts.request import Principal, Request


def request(*candidates: ModelCandidate) -> ModelRequest:
    case = Case(
        request=Request(
            request_id="01JD0000000000000000000000",
            tenant="acme",
            principal=Principal(user="u", role="customer"),
            text="hello",
        ),
        bundle="sha256:" + "0" * 64,
    )
    return ModelRequest(case, candidates, "prompt", (), OutputContract(), 1)


def candidate(**more: float) -> ModelCandidate:
    return ModelCandidate.model_validate({"provider": "p", "model": "m", **more})


class Fake:
    """Answers, or fails as it is told; counts what it is asked, and how much at once."""

    def __init__(self, failure: ModelPassed | None = None, hold: asyncio.Event | None = None):
        self.failure, self.hold = failure, hold
        self.asked = self.now = self.most = 0
        self.entered = asyncio.Semaphore(0)

    async def complete(self, _: ModelRequest, chosen: ModelCandidate) -> ModelResponse:
        self.asked += 1
        self.now += 1
        self.most = max(self.most, self.now)
        self.entered.release()
        try:
            if self.hold:
                await self.hold.wait()
            if self.failure:
                raise self.failure
            return ModelResponse("{}", chosen.provider, chosen.model)
        finally:
            self.now -= 1


async def passes(gauge: Gauge, model: Model) -> str:
    with pytest.raises(ModelPassed) as passed:
        await gauge.ask(model, request())
    return str(passed.value)


async def test_after_too_many_failures_it_is_left_alone_and_then_tried_once() -> None:
    now = [0.0]
    gauge = Gauge(candidate(max_failures=2, pause_s=30), lambda: now[0])
    model = Fake(ModelPassed("broken", unwell=True))
    assert [await passes(gauge, model) for _ in range(3)] == [
        "broken",
        "broken",
        "left alone for 30 s more",
    ]
    now[0] = 31
    assert await passes(gauge, model) == "broken"
    assert await passes(gauge, model) == "left alone for 30 s more"
    assert model.asked == 3
    now[0] = 62
    model.failure = None
    await gauge.ask(model, request())
    model.failure = ModelPassed("broken", unwell=True)
    assert await passes(gauge, model) == "broken"
    assert await passes(gauge, model) == "broken"
    assert await passes(gauge, model) == "left alone for 30 s more"


async def test_only_one_request_tries_it() -> None:
    now, hold = [0.0], asyncio.Event()
    gauge = Gauge(candidate(max_failures=1, pause_s=5), lambda: now[0])
    await passes(gauge, Fake(ModelPassed("broken", unwell=True)))
    now[0] = 6
    model = Fake(hold=hold)
    trying = asyncio.create_task(gauge.ask(model, request()))
    await model.entered.acquire()
    assert await passes(gauge, model) == "another request is trying it"
    hold.set()
    await trying
    await gauge.ask(model, request())


async def test_what_is_the_requests_fault_does_not_count() -> None:
    gauge = Gauge(candidate(max_failures=1))
    model = Fake(ModelPassed("it refused the request"))
    assert {await passes(gauge, model) for _ in range(3)} == {"it refused the request"}
    assert model.asked == 3


async def test_no_more_at_once_than_it_takes() -> None:
    gauge, hold = Gauge(candidate(max_concurrent=2)), asyncio.Event()
    model = Fake(hold=hold)
    asking = [asyncio.create_task(gauge.ask(model, request())) for _ in range(5)]
    await model.entered.acquire()
    await model.entered.acquire()
    hold.set()
    await asyncio.gather(*asking)
    assert (model.asked, model.most) == (5, 2)


async def test_waiting_for_a_slot_is_part_of_the_time() -> None:
    gauge, hold = Gauge(candidate(max_concurrent=1, timeout_s=0.05)), asyncio.Event()
    model = Fake(hold=hold)
    both = await asyncio.gather(
        *(gauge.ask(model, request()) for _ in range(2)), return_exceptions=True
    )
    assert [str(one) for one in both] == ["no answer within 0.05 s"] * 2


async def test_when_all_ask_for_time_the_stage_slows_down_for_the_shortest() -> None:
    first, second = candidate(), candidate().model_copy(update={"provider": "q"})
    models = {
        "p": Fake(ModelPassed("too many", retry_after=20)),
        "q": Fake(ModelPassed("too many", retry_after=8)),
    }
    with pytest.raises(SlowDown) as slow:
        await ModelRoutes(models).complete(request(first, second))
    assert slow.value.delay == 8
    models["q"].failure = ModelPassed("broken", unwell=True)
    with pytest.raises(RetryLater) as later:
        await ModelRoutes(models).complete(request(first, second))
    assert not isinstance(later.value, SlowDown)
    assert "p/m: too many; q/m: broken" in later.value.message


async def test_how_one_candidate_does_is_nothing_to_another() -> None:
    broken, well = candidate(), candidate().model_copy(update={"provider": "q"})
    models = {"p": Fake(ModelPassed("broken", unwell=True, retry_after=60)), "q": Fake()}
    routes = ModelRoutes(models)
    for why in ("p/m: broken", "p/m: left alone for 60 s more"):
        response = await routes.complete(request(broken, well))
        assert (response.provider, response.passed_over) == ("q", (why,))
    assert (models["p"].asked, models["q"].asked) == (1, 2)
