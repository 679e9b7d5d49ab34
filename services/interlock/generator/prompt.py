"""The prompts of the generator: what a template of the bundle sees of a case."""

from collections.abc import Sequence

from interlock.bundles.model import Bundle, OutputContract
from interlock.models.templates import filled
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.case import Case
from interlock_contracts.request import Principal, Request, Turn
from interlock_contracts.retrieval import Chunk, Context, RetrievalOutcome
from interlock_contracts.tools import ToolSpec

_ANY_OUTPUT = OutputContract()


def render(
    bundle: Bundle,
    name: str,
    case: Case,
    tools: Sequence[ToolSpec],
    output: OutputContract = _ANY_OUTPUT,
) -> str:
    """The prompt `name` for this case.

    A template sees `request`, `context` (or None), `tools` (those offered), `history` and
    `steps` (what was proposed before, what the gate said, what came of it), `output`, the contract
    of the answer, and, where the request asks for several things, `parts` (the `intent` and `text`
    of each). Raises `NeverRetry` as `filled`.
    """
    return filled(
        bundle,
        name,
        request=case.request,
        context=case.context,
        tools=tools,
        history=case.request.history,
        steps=case.steps,
        parts=_parts(case),
        output=output,
    )


def _parts(case: Case) -> list[dict[str, str]]:
    text, parts = case.request.text, case.route.parts if case.route else ()
    return [{"intent": one.intent, "text": text[one.start : one.end]} for one in parts]


def try_prompts(bundle: Bundle) -> None:
    """Render the prompt of every route for a made-up case; raises as `render` does.

    What only the router asks is its own matter.
    """
    case = _sample(bundle)
    classifier = bundle.router.classifier
    answering = {one.model for one in bundle.intents.values()}
    for name, route in bundle.models.items():
        if classifier is not None and name == classifier.model and name not in answering:
            continue
        render(bundle, route.prompt, case, tuple(bundle.tools.values()))


def _sample(bundle: Bundle) -> Case:
    text = "A sample."
    own = digest_bytes(text.encode())
    chunk = Chunk(
        handle="c1",
        chunk_id="sample/help/page#1",
        document_id="sample/help/page",
        version=own,
        digest=own,
        source="help",
        tenant="sample",
        text=text,
        score=1.0,
    )
    return Case(
        request=Request(
            request_id="0" * 26,
            tenant="sample",
            principal=Principal(user="sample", role="customer"),
            text=text,
            history=(Turn(role="user", text=text), Turn(role="assistant", text=text)),
        ),
        bundle=bundle.digest,
        context=Context(outcome=RetrievalOutcome.FOUND, chunks=(chunk,)),
    )
