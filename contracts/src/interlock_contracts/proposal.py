"""What a model wants: never an authority."""

from pydantic import Field

from interlock_contracts.base import CleanText, Digest, JsonObject, Model, Token, is_empty, is_none


class Citation(Model):
    """A claim that `quote` stands verbatim in what `handle` names.

    `c1`, `c2`, … are chunks of the context; `r1-0` is the result of action `1-0`, as
    canonical JSON.
    """

    handle: CleanText
    quote: CleanText


class Statement(Model):
    """A sentence or paragraph of an answer, with what supports it."""

    text: CleanText
    citations: tuple[Citation, ...] = ()


class ToolCall(Model):
    """A tool the model wants to run. Nothing here has been checked."""

    tool: CleanText
    arguments: JsonObject


class Packing(Model):
    """How a prompt was made to fit: counted `tokens` of at most `limit`, by `counter`.

    `turns` earlier turns of the conversation and the chunks in `chunks` (handles) were left out.
    """

    counter: CleanText
    limit: int = Field(gt=0)
    tokens: int = Field(ge=0)
    turns: int = Field(default=0, ge=0)
    chunks: tuple[Token, ...] = ()


class ModelRecord(Model):
    """What was asked of which model and what came back: the recorded effect of a generation.

    `prompt` is the digest of the rendered prompt; `output` the raw response text. Tokens are
    None where the provider does not count them, and so is the cost (millionths of the unit of
    the bundle's prices) where the model has no price. `recording` is the digest under which the
    prompt and the provider's own response are kept, where the bundle asks for that.
    """

    route: Token
    provider: Token
    model: CleanText
    prompt: Digest
    output: CleanText
    stop_reason: CleanText = "end"
    input_tokens: int | None = Field(default=None, ge=0)
    output_tokens: int | None = Field(default=None, ge=0)
    passed_over: tuple[CleanText, ...] = ()
    """Candidates of the route that were tried or skipped before this one, each with why."""
    task: Token | None = Field(default=None, exclude_if=is_none)
    """What it was asked for: answer, act, plan, repair, conclude or classify."""
    cost_micros: int | None = Field(default=None, ge=0, exclude_if=is_none)
    elapsed_ms: int | None = Field(default=None, ge=0, exclude_if=is_none)
    packing: Packing | None = Field(default=None, exclude_if=is_none)
    recording: Digest | None = Field(default=None, exclude_if=is_none)


class Proposal(Model):
    """An answer, tool calls, or both; or, when the output could not be read, why not.

    `plan` are calls that are explained and never run: nothing reads them but people. `abstained`
    says that the sources do not hold the answer; the bundle's own words for that are used then,
    not the model's. `data` is the structured answer of an intent whose output contract has a
    schema for one.
    """

    statements: tuple[Statement, ...] = ()
    calls: tuple[ToolCall, ...] = Field(default=(), max_length=16)
    plan: tuple[ToolCall, ...] = Field(default=(), max_length=16, exclude_if=is_empty)
    data: JsonObject | None = Field(default=None, exclude_if=is_none)
    abstained: bool = False
    malformed: CleanText | None = None
    model: ModelRecord

    @property
    def says_something(self) -> bool:
        """Whether there is a statement, a call or a structured answer at all."""
        return bool(self.statements or self.calls) or self.data is not None

    @property
    def text(self) -> str:
        """The answer as one text."""
        return "\n\n".join(statement.text for statement in self.statements)
