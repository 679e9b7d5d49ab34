"""The choice of an intent by every hosted provider, over real HTTP: what it says, how it fails."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.unit.models_wire import Reply, answer, error, serving
from tests.unit.test_models_hosted import candidate, environment
from tests.unit.test_router import request_input
from tests.unit.test_router_choosing import ODD, USING, bundle, choice_of

from interlock.bundles.classifier import ModelClassifier
from interlock.bundles.routes import ModelRoute
from interlock.intent_router.stage import decide
from interlock.models.routes import HOSTED, ModelRoutes
from interlock_contracts.case import Case
from interlock_contracts.routing import Route

__all__ = ["environment"]

pytestmark = pytest.mark.parametrize("provider", HOSTED)

SAID = json.dumps({"intent": "policy_question"})


@pytest.fixture
async def routes() -> AsyncIterator[ModelRoutes]:
    routes = ModelRoutes()
    yield routes
    await routes.aclose()


async def routed(
    routes: ModelRoutes, provider: str, *replies: Reply, timeout_s: float = 10.0
) -> tuple[Route, list[str]]:
    """The route of a request that the examples leave open, and what the servers were sent."""
    sent = []
    async with serving(replies[0]) as first, serving(replies[-1]) as second:
        servers = (first, second)[: len(replies)]
        models = ModelRoute(
            candidates=tuple(candidate(provider, one) for one in servers), prompt="choosing"
        )
        spec = ModelClassifier(model="choosing", timeout_s=timeout_s)
        given = bundle(spec, models={"choosing": models})
        using = replace(USING, models=routes.complete)
        made = await decide(request_input(ODD, bundle=given), using)
        sent = [json.dumps(body) for one in servers for _, _, body in one.seen]
        await routes.aclose()
    assert isinstance(made[0].data, Case)
    assert made[0].data.route is not None
    return made[0].data.route, sent


async def test_its_choice_is_taken(provider: str, routes: ModelRoutes) -> None:
    found, (sent,) = await routed(routes, provider, Reply(answer(provider, SAID)))
    choice = choice_of(found)
    assert (found.intent, choice.came_to) == ("policy_question", "taken")
    assert choice.model is not None
    assert (choice.model.input_tokens, choice.model.output_tokens) == (11, 7)
    assert choice.model.elapsed_ms is not None
    # It is held to the closed list, and told of no tool and of no other form.
    assert all(name in sent for name in ("order_status", "out_of_scope", "enum"))
    assert "abstained" not in sent
    assert "create_refund" not in sent


async def test_the_next_candidate_is_asked(provider: str, routes: ModelRoutes) -> None:
    good = Reply(answer(provider, SAID))
    found, _ = await routed(routes, provider, error(provider, 500), good)
    choice = choice_of(found)
    assert choice.came_to == "taken"
    assert choice.model is not None
    assert "it failed" in choice.model.passed_over[0]


@pytest.mark.parametrize(
    ("text", "stop"),
    [
        ("The intent is policy_question.", "end"),
        ('{"intent": "policy_questio', "length"),
        ("", "refusal"),
        ('{"intent": "delete_everything"}', "end"),
    ],
    ids=["prose", "cut off", "refusal", "another intent"],
)
async def test_what_is_no_choice_changes_nothing(
    provider: str, routes: ModelRoutes, text: str, stop: str
) -> None:
    found, _ = await routed(routes, provider, Reply(answer(provider, text, stop=stop)))
    choice = choice_of(found)
    assert (found.intent, choice.came_to) == ("out_of_scope", "invalid")
    assert choice.model is not None
    if stop == "refusal":
        assert choice.model.stop_reason == "content_filter"
        assert "content_filter" in str(choice.reason)


@pytest.mark.parametrize("how", ["500", "429", "not json", "silent", "dripping"])
async def test_what_does_not_answer_changes_nothing(
    provider: str, routes: ModelRoutes, how: str
) -> None:
    good = answer(provider, SAID)
    reply = {
        "500": error(provider, 500),
        "429": error(provider, 429, "30"),
        "not json": Reply(b"<html>"),
        "silent": Reply(good, hang=True),
        "dripping": Reply(good, drip=True),
    }[how]
    found, _ = await routed(routes, provider, reply, timeout_s=0.3 if how[-1] in "tg" else 10)
    choice = choice_of(found)
    assert (found.intent, choice.came_to, choice.model) == ("out_of_scope", "unanswered", None)
    assert "no model of the route answered" in str(choice.reason)
