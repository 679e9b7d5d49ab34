"""A prompt that leaves the cell shows nobody's data: of documents and results neither."""

import json
import re
from typing import Any

import pytest
from hypothesis import given as every
from hypothesis import strategies as st
from tests.support.generator import ZERO, FakeLog, bundle, case, given, proposal_of

from interlock.bundles.model import Bundle
from interlock.bundles.privacy import PrivacySpec
from interlock.bundles.routes import ModelCandidate
from interlock.generator.asking import packed_prompt
from interlock.generator.private import shown_case, told
from interlock.generator.stage import Capabilities, decide
from interlock.models.port import ModelRequest, ModelResponse
from interlock_contracts.actions import Effect, Result
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.case import Case, Step
from interlock_contracts.proposal import Citation, ModelRecord, Proposal, Statement, ToolCall
from interlock_contracts.verdict import Decision, Verdict

PROMPT = (
    "{{ request.text }}\n{% for c in context.chunks %}{{ c.title }} {{ c.text }}\n{% endfor %}"
    "{% for s in steps %}{{ s.proposal.text }} {% for r in s.results %}{{ r.output }}{% endfor %}"
    "{% endfor %}"
)
HOSTED = ModelCandidate(provider="openai", model="big")
ON: dict[str, Any] = {"privacy": PrivacySpec(kinds=("EMAIL", "CARD")), "prompt": PROMPT}
MAIL, OTHER, CARD = "ana@example.com", "bob@example.org", "4111 1111 1111 1111"


def with_data(text: str = f"Ask {MAIL} or {OTHER}.") -> Case:
    """A request with a placeholder of its own, a document and a result with personal data."""
    known = case("Write to [EMAIL_1], please.")
    assert known.context is not None
    chunk = known.context.chunks[0].model_copy(
        update={"text": text, "title": f"By {OTHER}", "digest": digest_bytes(text.encode())}
    )
    model = ModelRecord(route="default", provider="openai", model="big", prompt=ZERO, output="{}")
    said = Proposal(statements=(Statement(text=f"It was {MAIL}."),), model=model)
    result = Result(
        action="1-0",
        tool="get_order",
        effect=Effect.LANDED,
        effect_key="k",
        output={"paid": [{"card": CARD}], "cents": 100},
    )
    step = Step(proposal=said, verdict=Verdict(decision=Decision.APPROVE), results=(result,))
    context = known.context.model_copy(update={"chunks": (chunk,)})
    return known.model_copy(update={"context": context, "steps": (step,)})


def prompt_of(of: Bundle, known: Case) -> str:
    assert known.route is not None
    return packed_prompt(of, known, known.route, 2).prompt


def test_a_hosted_model_is_shown_placeholders() -> None:
    prompt = prompt_of(bundle(HOSTED, **ON), with_data())
    assert not [value for value in (MAIL, OTHER, CARD) if value in prompt]
    assert "Ask [EMAIL_2] or [EMAIL_3]." in prompt
    assert "By [EMAIL_3]" in prompt
    assert "It was [EMAIL_2]." in prompt
    assert "[CARD_1]" in prompt
    assert "[EMAIL_1]" in prompt  # the requester's own, which stands for something else


@pytest.mark.parametrize(
    "of",
    [
        bundle(HOSTED, prompt=PROMPT),
        bundle(ModelCandidate(provider="extractive", model="e"), **ON),
        bundle(ModelCandidate(provider="record", model="e", options={"of": "extractive"}), **ON),
    ],
)
def test_without_the_section_or_a_hosted_model_a_prompt_is_as_it_was(of: Bundle) -> None:
    assert MAIL in prompt_of(of, with_data())


class Quoting:
    """A hosted model that quotes, answers and calls with what it was shown."""

    def __init__(self) -> None:
        self.prompt = ""

    async def complete(self, request: ModelRequest) -> ModelResponse:
        self.prompt = request.prompt
        found = re.search(r"Ask (\S+) or", request.prompt)
        assert found is not None
        shown = found[1]
        citation = {"handle": "c1", "quote": f"Ask {shown}"}
        said = {"text": f"Write to {shown} and [EMAIL_1].", "citations": [citation]}
        calls = [{"tool": "get_order", "arguments": {"order_id": shown, "n": [shown]}}]
        output = json.dumps({"statements": [said], "calls": calls})
        return ModelResponse(output, "openai", "big")


async def test_what_it_says_is_put_back_and_its_own_output_stays() -> None:
    model = Quoting()
    using = Capabilities(models=model.complete, log=FakeLog())
    known = with_data().model_copy(update={"steps": ()})
    (draft,) = await decide(given(known, bundle(HOSTED, **ON)), using)
    assert MAIL not in model.prompt
    proposal = proposal_of(draft)
    assert proposal.text == f"Write to {MAIL} and [EMAIL_1]."
    assert proposal.statements[0].citations == (Citation(handle="c1", quote=f"Ask {MAIL}"),)
    assert proposal.calls[0].arguments == {"order_id": MAIL, "n": [MAIL]}
    assert "[EMAIL_2]" in proposal.model.output
    assert MAIL not in proposal.model.output
    assert proposal.model.prompt == digest_bytes(model.prompt.encode())
    (again,) = await decide(given(known, bundle(HOSTED, **ON)), using)
    assert again == draft


def test_a_placeholder_that_a_document_wrote_is_given_to_nothing_else() -> None:
    known = with_data(f"[EMAIL_2] is a placeholder, {MAIL} is none.")
    _, hidden = shown_case(bundle(HOSTED, **ON), known, bundle(HOSTED).models["default"])
    assert hidden["[EMAIL_3]"] == MAIL
    assert not {"[EMAIL_1]", "[EMAIL_2]"} & hidden.keys()


@every(st.lists(st.sampled_from([MAIL, OTHER, CARD, "a", "[EMAIL_2]", " ", "\n"]), max_size=12))
def test_placeholders_round_trip_through_what_a_model_says(words: list[str]) -> None:
    text = " ".join(["x", *words])
    known = with_data(text)
    of = bundle(HOSTED, **ON)
    shown, hidden = shown_case(of, known, of.models["default"])
    assert shown.context is not None
    seen = shown.context.chunks[0].text
    assert not [value for value in (MAIL, OTHER, CARD) if value in seen]
    model = known.steps[0].proposal.model
    calls = (ToolCall(tool="t", arguments={"a": seen}),)
    said = (Statement(text=seen),)
    quoted = Proposal(statements=said, calls=calls, data={"a": [seen]}, model=model)
    back = told(quoted, hidden)
    assert back.statements[0].text == text
    assert back.calls[0].arguments == {"a": text}
    assert back.data == {"a": [text]}
