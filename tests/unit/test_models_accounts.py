"""Accounts (so much in any minute, so much at once) and hedging: two asked, the first one taken."""

import asyncio
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from tests.unit.test_models_pressure import Fake, request

from interlock.bundles.routes import AccountLimits, ModelCandidate
from interlock.models.accounts import WINDOW_S, Account, Window
from interlock.models.port import Model, ModelPassed, ModelRequest, ModelResponse
from interlock.models.routes import ModelRoutes
from interlock.runtime.errors import RetryLater, SlowDown


def candidate(provider: str = "p", **more: Any) -> ModelCandidate:
    options = {"max_tokens": 100}
    return ModelCandidate.model_validate(
        {"provider": provider, "model": "m", "options": options, **more}
    )


def asked(*candidates: ModelCandidate, **more: Any) -> ModelRequest:
    return replace(request(*candidates), **more)


# accounts


@given(
    most=st.integers(1, 5),
    gaps=st.lists(st.floats(0, 40), min_size=1, max_size=60),
)
def test_no_minute_ever_has_more_than_the_limit(most: int, gaps: list[float]) -> None:
    window, now, taken = Window(most), 0.0, []
    for gap in gaps:
        now += gap
        wait = window.wait(1, now)
        assert 0 <= wait <= WINDOW_S + 1e-9
        if wait == 0:
            window.take(1, now)
            taken.append(now)
        else:
            later = deepcopy(window).wait(1, now + wait)
            assert later == pytest.approx(0, abs=1e-6), "the wait it names is enough"
    for end in taken:
        assert sum(0 <= end - one < WINDOW_S for one in taken) <= most


def test_a_call_larger_than_a_minute_waits_for_an_empty_one() -> None:
    window = Window(10)
    assert window.wait(50, 0) == 0
    window.take(50, 0)
    assert window.wait(1, 59) == 1
    assert window.wait(1, 60) == 0


def test_what_was_really_used_replaces_what_was_expected() -> None:
    now = [0.0]
    account = Account(AccountLimits(tokens_per_minute=1_000), lambda: now[0])
    call = account.admit(900)
    with pytest.raises(ModelPassed, match="tokens of this minute") as passed:
        account.admit(200)
    assert passed.value.retry_after == 60
    call.used(300)
    account.admit(600)
    with pytest.raises(ModelPassed):
        account.admit(200)
    now[0] = 60.0
    account.admit(1_000)


async def test_candidates_of_one_account_share_its_limits() -> None:
    now = [0.0]
    models = {"p": Fake(), "q": Fake()}
    routes = ModelRoutes(models, clock=lambda: now[0])
    limits = {"shared": AccountLimits(requests_per_minute=2)}
    first, second = candidate("p", account="shared"), candidate("q", account="shared")
    other = candidate("q")
    for one in (first, second):
        await routes.complete(asked(one, accounts=limits))
    with pytest.raises(SlowDown) as slow:
        await routes.complete(asked(first, second, accounts=limits))
    assert slow.value.delay == 60
    assert (models["p"].asked, models["q"].asked) == (1, 1)
    response = await routes.complete(asked(first, other, accounts=limits))
    assert response.passed_over == ("p/m: its requests of this minute are used up for 60 s",)
    now[0] = 60.0
    await routes.complete(asked(first, accounts=limits))


async def test_an_account_has_its_providers_name_unless_another_is_given() -> None:
    routes = ModelRoutes({"p": Fake()})
    limits = {"p": AccountLimits(requests_per_minute=1)}
    await routes.complete(asked(candidate(), accounts=limits))
    with pytest.raises(SlowDown):
        await routes.complete(asked(candidate(), accounts=limits))


async def test_our_own_limits_are_no_failure_of_the_candidate() -> None:
    now = [0.0]
    routes = ModelRoutes({"p": Fake()}, clock=lambda: now[0])
    limits = {"p": AccountLimits(requests_per_minute=1)}
    shy = candidate(max_failures=1, pause_s=500)
    await routes.complete(asked(shy, accounts=limits))
    with pytest.raises(SlowDown):
        await routes.complete(asked(shy, accounts=limits))
    now[0] = 61.0
    await routes.complete(asked(shy, accounts=limits))


async def test_no_more_at_once_than_the_account_takes() -> None:
    hold, model = asyncio.Event(), Fake()
    model.hold = hold
    routes = ModelRoutes({"p": model})
    limits = {"p": AccountLimits(max_concurrent=2)}
    calls = [
        asyncio.create_task(routes.complete(asked(one, accounts=limits)))
        for one in (candidate(model="a"), candidate(model="b"), candidate(model="c"))
    ]
    await model.entered.acquire()
    await model.entered.acquire()
    hold.set()
    await asyncio.gather(*calls)
    assert (model.asked, model.most) == (3, 2)


# the request's own time


async def test_a_candidate_has_no_longer_than_the_request() -> None:
    slow = Fake()
    slow.hold = asyncio.Event()
    routes = ModelRoutes({"p": slow, "q": Fake()})
    late = asked(candidate(max_failures=1, pause_s=500), left_s=0.02)
    with pytest.raises(RetryLater, match="the request's time was over"):
        await routes.complete(late)
    slow.hold.set()
    await routes.complete(asked(candidate(max_failures=1, pause_s=500)))  # it is not left alone


async def test_nobody_waits_for_longer_than_the_request_has() -> None:
    routes = ModelRoutes({"p": Fake(ModelPassed("too many", retry_after=20))})
    with pytest.raises(RetryLater) as later:
        await routes.complete(asked(candidate(), left_s=5.0))
    assert not isinstance(later.value, SlowDown)


# hedging


class Slow:
    """Answers when it is let; says whether it was cancelled."""

    def __init__(self) -> None:
        self.entered, self.go = asyncio.Event(), asyncio.Event()
        self.cancelled = False

    async def complete(self, _: ModelRequest, chosen: ModelCandidate) -> ModelResponse:
        self.entered.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return ModelResponse("{}", chosen.provider, chosen.model)


async def test_the_second_is_asked_when_the_first_is_slow_and_the_loser_is_cancelled() -> None:
    slow, quick, third = Slow(), Fake(), Fake()
    routes = ModelRoutes({"p": slow, "q": quick, "r": third})
    hedged = asked(candidate(), candidate("q"), candidate("r"), hedge_after_s=0.01)
    response = await routes.complete(hedged)
    assert (response.provider, slow.cancelled, third.asked) == ("q", True, 0)
    (why,) = response.passed_over
    assert why.startswith("p/m: another answered first; cancelled after 0.")
    assert response.elapsed_ms is not None


async def test_calls_are_counted_by_what_came_of_them() -> None:
    slow, used = Slow(), Fake()
    models: dict[str, Model] = {"slow": slow, "bad": Fake(ModelPassed("no")), "good": used}
    before = [calls("slow", "cancelled"), calls("bad", "passed"), calls("good", "answered")]
    hedged = asked(candidate("slow"), candidate("bad"), candidate("good"), hedge_after_s=0.01)
    await ModelRoutes(models).complete(hedged)
    after = [calls("slow", "cancelled"), calls("bad", "passed"), calls("good", "answered")]
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 1, 1]


def calls(provider: str, outcome: str) -> float:
    labels = {"provider": provider, "model": "m", "outcome": outcome}
    return REGISTRY.get_sample_value("interlock_model_calls_total", labels) or 0


async def test_the_first_may_still_win() -> None:
    slow, slower = Slow(), Slow()
    routes = ModelRoutes({"p": slow, "q": slower})
    hedged = asked(candidate(), candidate("q"), hedge_after_s=0.01)
    racing = asyncio.create_task(routes.complete(hedged))
    await slower.entered.wait()
    slow.go.set()
    response = await racing
    assert (response.provider, slower.cancelled) == ("p", True)


async def test_an_embedded_model_is_no_hedge_but_still_the_fallback() -> None:
    slow, embedded = Slow(), Fake()
    routes = ModelRoutes({"p": slow, "extractive": embedded})
    hedged = asked(candidate(), candidate("extractive"), hedge_after_s=0.01)
    racing = asyncio.create_task(routes.complete(hedged))
    done, _ = await asyncio.wait({racing}, timeout=0.1)
    assert (done, embedded.asked) == (set(), 0)
    slow.go.set()
    assert (await racing).provider == "p"
    failing = ModelRoutes({"p": Fake(ModelPassed("broken")), "extractive": embedded})
    assert (await failing.complete(hedged)).provider == "extractive"


async def test_a_quick_first_answer_asks_nobody_else() -> None:
    models = {"p": Fake(), "q": Fake()}
    hedged = asked(candidate(), candidate("q"), hedge_after_s=30)
    response = await ModelRoutes(models).complete(hedged)
    assert (response.provider, models["q"].asked, response.passed_over) == ("p", 0, ())


async def test_a_failure_does_not_wait_for_the_hedge() -> None:
    models = {"p": Fake(ModelPassed("broken", unwell=True)), "q": Fake()}
    hedged = asked(candidate(), candidate("q"), hedge_after_s=30)
    response = await ModelRoutes(models).complete(hedged)
    assert (response.provider, response.passed_over) == ("q", ("p/m: broken",))


async def test_a_hedge_that_fails_leaves_the_first_its_time_and_asks_the_next() -> None:
    slow = Slow()
    models: dict[str, Model] = {
        "p": slow,
        "q": Fake(ModelPassed("broken", unwell=True)),
        "r": Fake(),
    }
    hedged = asked(candidate(), candidate("q"), candidate("r"), hedge_after_s=0.01)
    response = await ModelRoutes(models).complete(hedged)
    assert response.provider == "r"
    assert [why.split(";")[0] for why in response.passed_over] == [
        "q/m: broken",
        "p/m: another answered first",
    ]


async def test_who_gives_up_leaves_no_call_behind() -> None:
    slow, slower = Slow(), Slow()
    routes = ModelRoutes({"p": slow, "q": slower})
    hedged = asked(candidate(), candidate("q"), hedge_after_s=0.01)
    racing = asyncio.create_task(routes.complete(hedged))
    await slower.entered.wait()
    racing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await racing
    assert (slow.cancelled, slower.cancelled) == (True, True)


# closing


async def test_closing_closes_every_model_once() -> None:
    class Open(Fake):
        closed = 0

        async def aclose(self) -> None:
            self.closed += 1

    model = Open()
    await ModelRoutes({"p": model, "q": model, "r": Fake()}).aclose()
    assert model.closed == 1
