"""Cross-checks of a bundle: what its schema cannot say. Each returns problems, worded."""

from collections.abc import Iterator
from pathlib import PurePosixPath
from string import Formatter

import jsonschema_rs
from jinja2 import TemplateSyntaxError
from jinja2.sandbox import SandboxedEnvironment
from pydantic import ValidationError

from interlock.bundles.checks_routing import check_routing, unknown
from interlock.bundles.fencing import unfenced
from interlock.bundles.knowledge import RetrievalSpec
from interlock.bundles.language import languages
from interlock.bundles.model import Bundle, Intent, OutputContract
from interlock.bundles.patterns import Pattern
from interlock.bundles.privacy import KINDS
from interlock.bundles.routes import ModelCandidate
from interlock.bundles.rules import check_rules
from interlock.bundles.source import Location, Source
from interlock.bundles.spelling import unknown_key
from interlock_contracts.tools import FactSpec, ToolSpec

MAX_HITS = 15_000
"""Of some 85 bytes each; the rest of an event is for the passages and the case."""

SLOTS = ("pattern", "money_cents", "enum", "text", "after")
"""How the extractive model may fill an argument: the values of `x-slot` in its schema."""


def check(bundle: Bundle, source: Source) -> list[str]:
    """Every problem of a bundle but those of its Cedar policies, in the order of its parts."""
    return [
        *_router(bundle, source),
        *check_routing(bundle, source),
        *_intents(bundle, source),
        *_recordable(source, ("retrieval",), bundle.retrieval),
        *_sources(bundle, source),
        *_outputs(bundle, source),
        *_privacy(bundle, source),
        *_models(bundle, source),
        *_tools(bundle),
        *check_rules(bundle),
        *_prompts(bundle),
    ]


def _router(bundle: Bundle, source: Source) -> Iterator[str]:
    fallback = bundle.router.fallback
    if bundle.intents and fallback not in bundle.intents:
        message = unknown("intent", fallback, bundle.intents)
        yield source.problem(("router", "fallback"), message)


def _intents(bundle: Bundle, source: Source) -> Iterator[str]:
    if not bundle.intents:
        yield source.problem(("intents",), "a bundle needs at least one intent")
    for name, intent in bundle.intents.items():
        at: Location = ("intents", name)
        if not intent.examples and not intent.rules and name != bundle.router.fallback:
            yield source.problem(at, "no request can reach it; add examples or rules")
        yield from _references(bundle, source, at, intent)
        for index, rule in enumerate(intent.rules):
            yield from _regex(source, (*at, "rules", index, "pattern"), rule.pattern)


def _references(bundle: Bundle, source: Source, at: Location, intent: Intent) -> Iterator[str]:
    for index, name in enumerate(intent.sources):
        if name not in bundle.sources:
            message = unknown("source", name, bundle.sources)
            yield source.problem((*at, "sources", index), message)
    for field, names in (("tools", intent.tools), ("plans", intent.plans)):
        for index, name in enumerate(names):
            if name not in bundle.tools:
                yield source.problem((*at, field, index), unknown("tool", name, bundle.tools))
    try:
        bundle.retrieval_of(str(at[1]))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        below = (*at, "retrieval", *first["loc"])
        extra = first["type"] == "extra_forbidden"
        message = unknown_key(("retrieval", *first["loc"])) if extra else first["msg"]
        yield source.problem(below, message)
    else:
        if intent.retrieval:
            yield from _recordable(source, (*at, "retrieval"), bundle.retrieval_of(str(at[1])))
    if intent.refusal is not None:
        return
    if intent.output not in bundle.outputs:
        yield source.problem((*at, "output"), unknown("output", intent.output, bundle.outputs))
    if intent.model not in bundle.models:
        yield source.problem((*at, "model"), unknown("model route", intent.model, bundle.models))
    elif intent.data_class is not None and not any(
        one.embedded or intent.data_class in one.data_classes
        for one in bundle.models[intent.model].candidates
    ):
        message = f"no candidate of the model route {intent.model!r} may have data of this class"
        yield source.problem((*at, "data_class"), message)


def _recordable(source: Source, at: Location, spec: RetrievalSpec) -> Iterator[str]:
    """Every list of a search is on record: two for each aspect, about ten for the whole query."""
    hits = spec.candidates * (10 + 2 * spec.aspects)
    if hits > MAX_HITS:
        message = (
            f"a search puts up to {hits:,} hits on record, and an event holds {MAX_HITS:,}: "
            "fewer candidates, or fewer aspects"
        )
        yield source.problem(at, message)


def _regex(source: Source, at: Location, pattern: str) -> Iterator[str]:
    try:
        Pattern(pattern)
    except ValueError as error:
        yield source.problem(at, str(error))


def _sources(bundle: Bundle, source: Source) -> Iterator[str]:
    for name, knowledge in bundle.sources.items():
        if knowledge.path is None:
            continue
        path = PurePosixPath(knowledge.path)
        if path.is_absolute() or ".." in path.parts or path.parts.count("{tenant}") != 1:
            message = "give a folder below the bundle's own, with one part {tenant} in it"
            yield source.problem(("sources", name, "path"), message)


def _outputs(bundle: Bundle, source: Source) -> Iterator[str]:
    for name, output in bundle.outputs.items():
        for index, pattern in enumerate(output.forbidden):
            yield from _regex(source, ("outputs", name, "forbidden", index), pattern)
        yield from _form(source, ("outputs", name), output)


def _form(source: Source, at: Location, output: OutputContract) -> Iterator[str]:
    """What the output contract asks of the form of an answer must be possible."""
    if output.json_schema is not None:
        try:
            jsonschema_rs.Draft202012Validator(output.json_schema, offline=True)
        except ValueError as error:
            message = f"no JSON Schema: {str(error).partition(chr(10))[0]}"
            yield source.problem((*at, "json_schema"), message)
        if output.json_schema.get("type", "object") != "object":
            message = "a structured answer is an object: put it into a property of one"
            yield source.problem((*at, "json_schema", "type"), message)
    if output.language is not None and output.language not in languages():
        message = unknown("language", output.language, languages())
        yield source.problem((*at, "language"), message)
    if output.fallback == "extractive" and (output.json_schema or output.sections):
        message = "a quoted sentence has no sections and no structured answer; take `refuse`"
        yield source.problem((*at, "fallback"), message)
    if output.review_class is not None and output.fallback != "review":
        message = (
            "nobody is asked to review these answers; take `fallback: review`, or leave it out"
        )
        yield source.problem((*at, "review_class"), message)


def _privacy(bundle: Bundle, source: Source) -> Iterator[str]:
    if bundle.privacy is None:
        return
    for index, own in enumerate(bundle.privacy.recognisers):
        yield from _regex(source, ("privacy", "recognisers", index, "pattern"), own.pattern)
    for index, pattern in enumerate(bundle.privacy.allow):
        yield from _regex(source, ("privacy", "allow", index), pattern)


def _models(bundle: Bundle, source: Source) -> Iterator[str]:
    for name, route in bundle.models.items():
        if route.prompt not in bundle.prompts:
            message = unknown("prompt", route.prompt, bundle.prompts)
            yield source.problem(("models", name, "prompt"), message)
        for index, one in enumerate(route.candidates):
            at: Location = ("models", name, "candidates", index)
            if one.provider == "record" and one.asked in ("", "record"):
                yield source.problem(at, "name the provider to record in options.of")
            if one.account is not None and one.account not in bundle.accounts:
                message = unknown("account", one.account, bundle.accounts)
                yield source.problem((*at, "account"), message)
            limited = bundle.limits.budget.max_cost_micros is not None
            if limited or one.max_cost_micros is not None:
                yield from _priced(bundle, source, at, one)
    for name in bundle.prices:
        if "/" not in name:
            yield source.problem(("prices", name), "name a price provider/model")


def _priced(
    bundle: Bundle, source: Source, at: Location, candidate: ModelCandidate
) -> Iterator[str]:
    name = f"{candidate.asked}/{candidate.model}"
    if not candidate.embedded and name not in bundle.prices:
        yield source.problem(at, f"its cost is limited: {unknown('price', name, bundle.prices)}")


def _tools(bundle: Bundle) -> Iterator[str]:
    for tool in bundle.tools.values():
        arguments = tool.parameters.get("properties", {})
        for fact in tool.facts:
            yield from _fact(bundle, tool, fact)
        for field in ("accepts", "confirms", "derives"):
            for name in getattr(tool, field):
                if name not in arguments:
                    missing = unknown("argument", name, arguments)
                    yield f"tools.py: {tool.name}: {field}: {missing}"
        for pattern in tool.records or ():
            if pattern and not pattern.startswith("/"):
                yield f"tools.py: {tool.name}: records: {pattern!r} is no JSON pointer"
        for _, shown, _, _ in Formatter().parse(tool.summary):
            if shown is not None and shown not in arguments:
                yield f"tools.py: {tool.name}: summary: {unknown('argument', shown, arguments)}"
        for name, schema in arguments.items():
            kind = schema.get("x-personal")
            if kind is not None and kind not in _personal_kinds(bundle):
                yield f"tools.py: {tool.name}.{name}: x-personal: {kind!r} is not redacted here"
            slot = schema.get("x-slot")
            if slot is not None and slot not in SLOTS:
                yield (
                    f"tools.py: {tool.name}.{name}: x-slot {slot!r} is not one of "
                    f"{', '.join(SLOTS)}"
                )


def _personal_kinds(bundle: Bundle) -> set[str]:
    """The kinds that are redacted; without redaction all that are known, which then do nothing."""
    spec = bundle.privacy
    own = {one.kind for one in spec.recognisers} if spec else set()
    return own | set(spec.kinds if spec else KINDS)


def _fact(bundle: Bundle, tool: ToolSpec, fact: FactSpec) -> Iterator[str]:
    place = f"tools.py: {tool.name}: fact {fact.name}"
    getter = bundle.tools.get(fact.tool)
    if getter is None:
        yield f"{place}: {unknown('tool', fact.tool, bundle.tools)}"
        return
    if getter.effect != "read":
        yield f"{place}: {getter.name} has effect {getter.effect!r}; only a read may fetch a fact"
    theirs = getter.parameters.get("properties", {})
    ours = tool.parameters.get("properties", {})
    for argument, taken_from in fact.arguments.items():
        if argument not in theirs:
            yield f"{place}: {unknown(f'argument of {getter.name}', argument, theirs)}"
        if taken_from not in ours:
            yield f"{place}: {unknown(f'argument of {tool.name}', taken_from, ours)}"
    for argument in getter.parameters.get("required", []):
        if argument not in fact.arguments:
            yield f"{place}: {getter.name} needs the argument {argument!r}; say where it is from"


def _prompts(bundle: Bundle) -> Iterator[str]:
    environment = SandboxedEnvironment()
    for name, text in bundle.prompts.items():
        try:
            template = environment.parse(text)
        except TemplateSyntaxError as error:
            yield f"prompts/{name}.jinja:{error.lineno}: not a Jinja template: {error.message}"
            continue
        for line, written in unfenced(template):
            yield (
                f"prompts/{name}.jinja:{line}: content of others is not marked: write "
                f"{{{{ {written} | fence(…) }}}}"
            )
