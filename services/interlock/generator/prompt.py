"""Prompts: the bundle's Jinja templates, rendered in a sandbox. Nothing may be undefined."""

from collections.abc import Sequence

from jinja2 import DictLoader, StrictUndefined, Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from interlock.bundles.model import Bundle, OutputContract, Prepared
from interlock.generator.fences import fence
from interlock.runtime.errors import NeverRetry
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.case import Case
from interlock_contracts.failures import FailureCode
from interlock_contracts.request import Principal, Request, Turn
from interlock_contracts.retrieval import Chunk, Context, RetrievalOutcome
from interlock_contracts.tools import ToolSpec


def _compile(bundle: Bundle) -> dict[str, Template]:
    # One prompt may include another of the same bundle, and nothing else.
    environment = ImmutableSandboxedEnvironment(
        loader=DictLoader(dict(bundle.prompts)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    environment.filters["fence"] = fence
    return {name: environment.get_template(name) for name in bundle.prompts}


_ANY_OUTPUT = OutputContract()

templates = Prepared(_compile)
"""The compiled templates of a bundle; raises `TemplateError` for one that does not compile."""


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
    of each). The filter `fence` marks content of others.

    Raises:
        NeverRetry: the bundle has no such prompt, or it cannot be rendered.
    """
    try:
        template = templates(bundle).get(name)
        if template is None:
            raise NeverRetry(FailureCode.STAGE_FAILED, f"the bundle has no prompt {name!r}")
        return template.render(
            request=case.request,
            context=case.context,
            tools=tools,
            history=case.request.history,
            steps=case.steps,
            parts=_parts(case),
            output=output,
        )
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        # The message may quote values; its type is enough to find the place.
        raise NeverRetry(
            FailureCode.STAGE_FAILED, f"prompt {name!r}: {type(error).__name__}"
        ) from error


def _parts(case: Case) -> list[dict[str, str]]:
    text, parts = case.request.text, case.route.parts if case.route else ()
    return [{"intent": one.intent, "text": text[one.start : one.end]} for one in parts]


def try_prompts(bundle: Bundle) -> None:
    """Render the prompt of every route for a made-up case; raises as `render` does."""
    case = _sample(bundle)
    for route in bundle.models.values():
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
