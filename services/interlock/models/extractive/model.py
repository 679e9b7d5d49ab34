"""What the extractive model does with a case, in order: close, mend, act, ask, answer, abstain."""

import re
from collections.abc import Mapping

from interlock.bundles.patterns import PatternTimeout, pattern
from interlock.bundles.routes import ModelCandidate
from interlock.models.extractive.closing import closing, plain_closing
from interlock.models.extractive.evidence import support
from interlock.models.extractive.several import parts_of
from interlock.models.extractive.slots import Filled, fill
from interlock.models.extractive.words import stems
from interlock.models.parse import Output
from interlock.models.port import ModelPassed, ModelRequest, ModelResponse
from interlock_contracts.failures import FailureCode
from interlock_contracts.privacy import PLACEHOLDER
from interlock_contracts.proposal import Citation, Statement, ToolCall
from interlock_contracts.tools import ToolSpec

MAX_CALLS = 4
"""Most look-ups that one question ("where are A-1001 and A-1002?") is turned into."""

ABSTAIN = Output(abstained=True)

_DECLINES = re.compile(r"(?i)\s*(?:no|nope|never ?mind|forget it|leave it|not now)\b")
_MAX_DECLINE_WORDS = 6
_RULES = re.compile(
    r"(?i)^\s*(?:(?:hi|hello|hey)\W+)?(?:how (?:long|much|soon|many|do|does)|what (?:if|happens)|"
    r"when|until when|who|do(?:es)? (?:you|it|this)|"
    r"(?:can|could|may|do|will|would) i\b.*\b(?:if|after|when|once|without|an?|any|still)\b|"
    r"(?:is|are|does) (?:there|it|a|an|the|my)\b)"
)
"""How people ask for the rules: `Can you refund me` is an order, `Can I … if …` is not."""
_POINTER = re.compile(r"/(statements|calls)/(\d+)(?:/arguments/([^/]+))?")


class ExtractiveModel:
    """Deterministic and without a network; everything it says is quoted or was just done."""

    async def complete(self, request: ModelRequest, candidate: ModelCandidate) -> ModelResponse:
        """The model's output as the JSON that every model has to give; raises `ModelPassed`."""
        if request.schema is not None:
            raise ModelPassed("it answers from sources, and nothing else")
        output = answer(request)
        return ModelResponse(output.model_dump_json(), candidate.provider, candidate.model)


def answer(request: ModelRequest) -> Output:
    """The output for this request; never raises for what a user wrote."""
    offending, strict = _offending(request)
    results = _closings(request, offending)
    if request.case.route is not None and request.case.route.parts:
        return _several(request, results)
    return Output(statements=results) if results else _one(request, offending, strict)


def _several(request: ModelRequest, results: tuple[Statement, ...]) -> Output:
    """The calls of all parts first; then what came of them, and the answers to the other parts."""
    outputs = [_one(part, *_offending(part)) for part in parts_of(request)]
    calls = tuple(call for one in outputs for call in one.calls)
    if calls and not results:
        return Output(calls=calls)
    told = (statement for one in outputs if not one.calls for statement in one.statements)
    statements = tuple(dict.fromkeys((*results, *told)))
    return Output(statements=statements) if statements else ABSTAIN


def _one(request: ModelRequest, offending: Mapping[str, bool], strict: bool) -> Output:
    """An act, a question or an answer, while nothing has been done yet."""
    texts = _user_texts(request)
    acted = _act(request, texts) if request.tools else None
    # A question that the gate has refused is not asked again.
    if acted is not None and not any(said.text in offending for said in acted.statements):
        return acted
    return _quote(request, texts, offending, strict)


def _closings(request: ModelRequest, offending: Mapping[str, bool]) -> tuple[Statement, ...]:
    """What came of each action so far; in the fewest words where the gate refused more."""
    tools = {tool.name: tool for tool in request.known}
    said: list[Statement] = []
    for step in request.case.steps:
        arguments = {action.action: action.arguments for action in step.verdict.actions}
        for result in step.results:
            tool, given = tools.get(result.tool), arguments.get(result.action, {})
            statement = closing(result, tool, given, request.case.request.text)
            if offending.get(statement.text) is False:
                statement = plain_closing(result)
            if offending.get(statement.text):
                # Its evidence was refused, not its words.
                statement = statement.model_copy(update={"citations": ()})
            said.append(statement)
    return tuple(said)


def _user_texts(request: ModelRequest) -> list[str]:
    """What the user said, the newest first. The assistant's turns are nobody's word."""
    asked = request.case.request
    earlier = [turn.text for turn in reversed(asked.history) if turn.role == "user"]
    return [asked.text, *earlier]


def _act(request: ModelRequest, texts: list[str]) -> Output | None:
    """The calls the user asked for, or the question for what they lack."""
    if _DECLINES.match(texts[0]) and len(texts[0].split()) <= _MAX_DECLINE_WORDS:
        return _say("All right, is there anything else that I can do for you?")
    tool = _tool(request.tools, " ".join(texts[:2]))
    if tool is None:
        return None
    filled = fill(tool, texts)
    if _asks_for_rules(request, tool, filled, texts[0]):
        told = _quote(request, texts, {}, strict=False)
        if not told.abstained and request.contract.citations == "none":
            asked = _ask(tool, filled, filled.missing).statements
            told = told.model_copy(update={"statements": (*told.statements, *asked)})
        if not told.abstained:
            return told
    refused = _refused_arguments(request, tool)
    if refused is not None and not _fact_was_missing(request):
        unclear = refused or filled.missing
        return _ask(tool, filled, unclear) if unclear else ABSTAIN
    if (
        tool.effect == "read"
        and len(filled.several) == 1
        and set(filled.missing) <= {*filled.several}
    ):
        ((name, values),) = filled.several.items()
        calls = [{**filled.arguments, name: value} for value in values[:MAX_CALLS]]
    elif filled.missing or filled.several:
        return _ask(tool, filled, filled.missing or tuple(filled.several))
    else:
        calls = [filled.arguments]
    return Output(calls=tuple(ToolCall(tool=tool.name, arguments=c) for c in calls))


def _tool(tools: tuple[ToolSpec, ...], text: str) -> ToolSpec | None:
    """The tool the text asks for: a write if it names what sets it apart, else a read."""
    said = set(stems(text))
    reads = [tool for tool in tools if tool.effect == "read"]
    writes = [tool for tool in tools if tool.effect != "read"]
    common = set().union(*(_vocabulary(tool) for tool in reads)) if reads else set()
    named = [(len((_vocabulary(tool) - common) & said), tool) for tool in writes]
    best = max(named, key=lambda pair: pair[0], default=None)
    # An intent that offers a single write and no look-up is about that write.
    if best is not None and (best[0] or (len(writes) == 1 and not reads)):
        return best[1]
    return max(reads, key=lambda tool: len(_vocabulary(tool) & said), default=None)


def _vocabulary(tool: ToolSpec) -> set[str]:
    return set(stems(f"{tool.name.replace('_', ' ')} {tool.description}"))


def _ask(tool: ToolSpec, filled: Filled, names: tuple[str, ...]) -> Output:
    """One question for each of `names`; questions all through, so that nothing is claimed."""
    properties = tool.parameters.get("properties", {})
    questions: list[str] = []
    for name in names:
        label = name.removesuffix("_cents").removesuffix("_id").replace("_", " ")
        described = str(properties.get(name, {}).get("description", "")).split(". ")[0]
        hint = described[:1].lower() + described[1:].strip(" .?!")
        if name.endswith("_cents"):
            hint = hint.removesuffix(", in cents")  # a user says dollars
        if name in filled.several:
            money = name.endswith("_cents")
            values = (f"{v / 100:.2f}" if money else str(v) for v in filled.several[name])
            hint = " or ".join(values)
        which = f"Which {label} is it about" if name.endswith("_id") else f"What is the {label}"
        questions.append(f"{which} ({hint})?" if hint else f"{which}?")
    return _say(" ".join(questions))


def _asks_for_rules(request: ModelRequest, tool: ToolSpec, filled: Filled, text: str) -> bool:
    """Whether the user asks about the rules of an action and not, or not yet, for the action.

    "Can I get a refund if it arrives broken?" names nothing that the action would need.
    """
    nothing = not any(name in tool.parameters.get("required", ()) for name in filled.arguments)
    return nothing and not filled.several and not request.case.steps and bool(_RULES.search(text))


def _say(text: str) -> Output:
    return Output(statements=(Statement(text=text),))


def _refused_arguments(request: ModelRequest, tool: ToolSpec) -> tuple[str, ...] | None:
    """The arguments the gate refused in a call of this tool; None if it refused no call."""
    names: list[str] = []
    called = False
    for step in request.case.steps:
        for violation in step.verdict.violations:
            found = _POINTER.match(violation.path)
            if found is None or found[1] != "calls" or int(found[2]) >= len(step.proposal.calls):
                continue
            if step.proposal.calls[int(found[2])].tool == tool.name:
                called = called or step.proposal.model.provider == "extractive"
                if found[3] in tool.parameters.get("properties", {}):
                    names.append(found[3])
    return tuple(dict.fromkeys(names)) if called else None


def _fact_was_missing(request: ModelRequest) -> bool:
    """Whether the last call was refused because a system of record gave no answer.

    Nothing is wrong with the call then: it is proposed again, and if that does not help either
    the gate says in the bundle's words what could not be looked up.
    """
    last = request.case.steps[-1].verdict.violations
    return any(one.code is FailureCode.FACT_UNAVAILABLE for one in last)


def _quote(
    request: ModelRequest, texts: list[str], offending: Mapping[str, bool], strict: bool
) -> Output:
    """The best supporting sentences, without what the gate has already refused."""
    context = request.case.context
    if context is None:
        return ABSTAIN
    forbidden = [pattern(source) for source in request.contract.forbidden]

    def refused(text: str) -> bool:
        return any(one in text for one in offending) or any(one.search(text) for one in forbidden)

    # No source answers a placeholder for personal data.
    asked, earlier = (PLACEHOLDER.sub(" ", text) for text in (*texts, "")[:2])
    try:
        found = support(asked, earlier, context.chunks, refused)
    except PatternTimeout:  # the gate would let nothing past that is not looked through
        return ABSTAIN
    length = 0
    statements: list[Statement] = []
    for one in found[: 1 if strict else None]:
        length += len(one.sentence.text) + 2
        if length > request.contract.max_chars:
            break
        citation = Citation(handle=one.handle, quote=one.sentence.quote)
        # What one source says is one paragraph; after a refusal each sentence is judged alone.
        last = statements[-1] if statements and not offending else None
        if last is not None and last.citations[-1].handle == one.handle:
            statements[-1] = Statement(
                text=f"{last.text} {one.sentence.text}", citations=(*last.citations, citation)
            )
        else:
            statements.append(Statement(text=one.sentence.text, citations=(citation,)))
    return Output(statements=tuple(statements)) if statements else ABSTAIN


def _offending(request: ModelRequest) -> tuple[dict[str, bool], bool]:
    """The statements the gate refused, and whether it refused an answer as a whole.

    Each text with whether it was for its citations alone.
    """
    texts: dict[str, bool] = {}
    whole = False
    for step in request.case.steps:
        for violation in step.verdict.violations:
            found = _POINTER.match(violation.path)
            if found is None:
                whole = True
            elif found[1] == "statements" and int(found[2]) < len(step.proposal.statements):
                text = step.proposal.statements[int(found[2])].text
                texts[text] = texts.get(text, True) and "/citations/" in violation.path
    return texts, whole
