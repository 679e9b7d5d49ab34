"""Signs of a prompt injection or a jailbreak: evidence with a place, never a decision."""

from typing import Literal, get_args

from pydantic import Field

from interlock_contracts.base import CleanText, Model, Token, is_absent

SignalKind = Literal[
    "override_instructions", "role_change", "prompt_extraction", "addresses_assistant",
    "chat_markup", "hidden_text", "encoded_text",
]  # fmt: skip
"""What is looked for.

`override_instructions`: to forget or ignore earlier instructions. `role_change`: to be, or play,
somebody without rules. `prompt_extraction`: to show the prompt or its rules. `addresses_assistant`
(in what was retrieved, or a tool returned): words to a model in a text for people. `chat_markup`:
the tokens by which models tell turns and roles apart. `hidden_text`: characters nobody sees.
`encoded_text`: a sentence in base64 or hex.
"""

SIGNAL_KINDS: tuple[SignalKind, ...] = get_args(SignalKind)


class Signal(Model):
    """One sign: its kind and place, never the words.

    `start` and `end` are offsets (code points, end exclusive) into the text of the request as
    the case has it, of turn `turn` of its history (counted from 0), of the chunk `handle`, or of
    the text at `pointer` (RFC 6901) in the output of the result `handle`.
    """

    kind: Token
    start: int = Field(ge=0)
    end: int = Field(gt=0)
    turn: int | None = Field(default=None, ge=0, exclude_if=is_absent)
    handle: Token | None = Field(default=None, exclude_if=is_absent)
    pointer: CleanText | None = Field(default=None, exclude_if=is_absent)
