"""What a model wants: never an authority."""

from pydantic import Field

from interlock_contracts.base import CleanText, Digest, JsonObject, Model, Token


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


class ModelRecord(Model):
    """What was asked of which model and what came back: the recorded effect of a generation.

    `prompt` is the digest of the rendered prompt; `output` the raw response text. Tokens are
    None where the provider does not count them.
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


class Proposal(Model):
    """An answer, tool calls, or both; or, when the output could not be read, why not.

    `abstained` says that the sources do not hold the answer; the bundle's own words for that
    are used then, not the model's.
    """

    statements: tuple[Statement, ...] = ()
    calls: tuple[ToolCall, ...] = Field(default=(), max_length=16)
    abstained: bool = False
    malformed: CleanText | None = None
    model: ModelRecord

    @property
    def text(self) -> str:
        """The answer as one text."""
        return "\n\n".join(statement.text for statement in self.statements)
