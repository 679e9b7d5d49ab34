"""Finding signs of a prompt injection or a jailbreak: fixed patterns, no model, no network.

They are evidence. Whoever wants to get past patterns does: what keeps an injected instruction from
acting is the gate, which asks where every argument comes from and whose choice an action was.
"""

import base64
import binascii
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import accumulate
from typing import Any

from interlock_contracts.case import Step
from interlock_contracts.request import Request
from interlock_contracts.retrieval import Chunk
from interlock_contracts.signals import Signal, SignalKind

MOST = 32
"""Signals of one text that are kept; a text full of them needs no more to be seen for it."""

_OF_RULES = (
    r"(?:instructions?|rules?|prompts?|guidelines?|directives?|polic(?:y|ies)|restrictions?|"
    r"safeguards?|programming|constraints?|messages|context)"
)
_MODEL = r"(?:ai|llm|gpt(?:-?[0-9]\w*)?|chatgpt|claude|gemini|llama|copilot|chat ?bot|assistant)"


@dataclass(frozen=True, slots=True)
class _Look:
    """What to look for, in lower case; `needs` are words of which one must occur, which is quick to
    see: most texts have none."""

    kind: SignalKind
    needs: tuple[str, ...]
    pattern: re.Pattern[str]


def _look(kind: SignalKind, needs: str, pattern: str) -> _Look:
    return _Look(kind, tuple(needs.split("|")), re.compile(pattern, re.MULTILINE))


_EVERYWHERE = (
    _look(
        "override_instructions",
        "ignor|disregard|forget|overrid|bypass|follow",
        r"\b(?:ignor(?:e|ing)|disregard(?:ing)?|forget(?:ting)?|overrid(?:e|ing)|bypass(?:ing)?|"
        r"do not follow|don't follow|stop following)\s+(?:\w+\s+){0,3}?"
        r"(?:previous|prior|above|earlier|preceding|original|initial|system|existing|your|"
        r"safety|all)\s+(?:\w+\s+){0,2}?" + _OF_RULES + r"\b"
        r"|\b(?:forget|ignore|disregard) (?:everything|all (?:of )?(?:that|this)|anything) "
        r"(?:above|before|you (?:were|have been|know)|i said|previous)"
        r"|\bignorier\w* (?:\w+ ){0,2}(?:vorherigen?|bisherigen?|obigen?) \w*anweisungen\b"
        r"|\bignore[sz]? (?:\w+ ){0,2}(?:instructions|consignes) (?:précédentes|antérieures)"
        r"|\bignor[ae] (?:\w+ ){0,2}instrucciones (?:anteriores|previas)",
    ),
    _look(
        "override_instructions",
        "instruction|prompt",
        r"\b(?:new|updated|real|actual) (?:system )?(?:instructions?|prompt) ?:",
    ),
    _look(
        "role_change",
        "you are |you're |you will be ",
        r"\b(?:you are|you're|you will be) (?:now|no longer) (?:an? |in |the |bound|restricted|"
        r"limited|subject|dan\b)",
    ),
    _look(
        "role_change",
        "restrict|limit|rules|filter|censor|jailbr|evil",
        r"\b(?:act|behave|respond|answer|reply|pretend|roleplay|role-play|imagine)\b[^.\n]{0,40}"
        r"\b(?:without (?:any )?(?:restrictions?|limits?|limitations?|rules|filters?|censorship)|"
        r"unrestricted|unfiltered|uncensored|unlimited|no (?:restrictions|rules|filters|limits)|"
        r"jailbroken|evil)\b",
    ),
    _look(
        "role_change",
        " mode|do anything now|jailbreak",
        r"\b(?:developer|god|admin|debug|dan|jailbreak|sudo) mode\b[^.\n]{0,30}"
        r"\b(?:enabled?|activated?|on)\b"
        r"|\b(?:enable|activate|enter|switch to) (?:developer|god|dan|jailbreak|sudo) mode\b"
        r"|\bdo anything now\b|\bjailbreak(?:ed|ing)?\b",
    ),
    _look(
        "prompt_extraction",
        "prompt|instruction|message|rules|above",
        r"\b(?:reveal|show|print|repeat|output|display|tell|give|share|leak|recite|what (?:is|are|"
        r"was|were))\b[^.?\n]{0,30}\b(?:your|the) (?:\w+ )?(?:system|initial|hidden|original|"
        r"secret|developer|internal) (?:prompts?|instructions?|messages?|rules)\b"
        r"|\b(?:repeat|print|output)\b[^.?\n]{0,20}\b(?:words|text|everything) above\b",
    ),
    _look(
        "chat_markup",
        "system|assistant|inst]|sys>|im_start|im_end|endoftext|eot_id|header_id|user",
        r"<\|(?:im_start|im_end|system|user|assistant|endoftext|eot_id|start_header_id)\|>"
        r"|\[/?inst\]|<</?sys>>|</?(?:system|assistant)(?:_prompt|_message)?>"
        r"|^\s{0,3}(?:#{2,4} ?)?(?:system|assistant) ?(?:prompt|message|override)? ?:\s*(?=\S)",
    ),
)
_TO_MODELS = (
    _look(
        "addresses_assistant",
        " ai|llm|gpt|claude|gemini|llama|copilot|chatbot|chat bot|assistant|language model",
        r"\b(?:dear|hey|hi|hello|attention|note to|notice to|message to|to you,|instructions? "
        r"(?:to|for)) (?:the |any |all |every )?" + _MODEL + r"(?:s|\b)"
        r"|\b(?:if|as|since) you(?: are|'re) an? (?:\w+ )?" + _MODEL + r"\b"
        r"|\b(?:the |any |all )?(?:ai|llm|chat ?bot|language) (?:assistants?|models?|agents?) "
        r"(?:must|should|shall|has to|have to|needs? to|reading|processing|is to|are to)\b",
    ),
    _look(
        "addresses_assistant",
        "before ",
        r"before(?<!\wbefore) (?:you )?(?:can )?(?:solv|answer|respond|continu|proceed|complet|"
        r"finish|summari[sz])\w*[^.\n]{0,60}\b(?:do|follow|execute|perform|carry out|you must|"
        r"first)\b",
    ),
    _look(
        "addresses_assistant",
        "user|customer|human",
        r"\b(?:do not|don't|never) (?:tell|inform|mention|reveal|show|notify|ask|alert)\b"
        r"[^.\n]{0,20}\b(?:the )?(?:user|customer|human)\b"
        r"|\bwithout (?:telling|informing|asking|notifying|alerting) (?:the )?"
        r"(?:user|customer|human)\b",
    ),
)
_ENCODED = re.compile(r"(?<![\w+/=-])(?:[A-Za-z0-9+/_-]{24,}={0,2}|(?:[0-9A-Fa-f]{2}){20,})(?!\w)")
_LEAST_ENCODED, _MOST_ENCODED = 24, 4_096
"""A shorter run is none. Of a longer run the beginning says enough."""

_SENTENCE = re.compile(r"[A-Za-z][a-z']*[,.:;!?]?(?: [A-Za-z0-9][\w'.,:;!?@-]*){2,}")

# Joiners and direction marks belong to scripts and emoji. These have no place within words, or
# anywhere: tag characters spell ASCII that nobody sees (only flags of regions have them).
_HIDDEN = re.compile(
    "(?<!\U0001f3f4)(?<![\U000e0020-\U000e007f])[\U000e0001\U000e0020-\U000e007f]+"
    "|(?<=[A-Za-z])[\u200b-\u200d\u2060\ufeff]+(?=[A-Za-z])|[\u200b-\u200f\u2060\ufeff]{4,}"
    "|[\u202d\u202e]+"
)
_INVISIBLE = re.compile(
    "[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]"
)


def signals_in(text: str, *, retrieved: bool = False) -> Iterator[tuple[SignalKind, int, int]]:
    """Each sign in `text` as (kind, start, end); `retrieved` text was written for people.

    Words are also found where they are broken up by characters nobody sees, or written with
    letters that only look like plain ones (NFKC).
    """
    plain, places = _plain(text)
    for look in (*_EVERYWHERE, *_TO_MODELS) if retrieved else _EVERYWHERE:
        if not any(map(plain.__contains__, look.needs)):
            continue
        for match in look.pattern.finditer(plain):
            start, end = match.span()
            if places is not None:
                start, end = places[start], places[end - 1] + 1
            yield look.kind, start, end
    if not text.isascii() and _INVISIBLE.search(text):
        for match in _HIDDEN.finditer(text):
            yield "hidden_text", *match.span()
    longest = max(map(len, text.split()), default=0)
    for match in _ENCODED.finditer(text) if longest >= _LEAST_ENCODED else ():
        if _says_something(match[0][:_MOST_ENCODED]):
            yield "encoded_text", *match.span()


def _plain(text: str) -> tuple[str, list[int] | None]:
    """`text` without what nobody sees, in plain small letters; for each character its old place.

    Without places where every character has stayed at its own.
    """
    small = text.lower().replace("’", "'")
    if text.isascii() or (
        len(small) == len(text)
        and unicodedata.is_normalized("NFKC", text)
        and not _INVISIBLE.search(text)
    ):
        return small, None
    characters: list[str] = []
    places: list[int] = []
    for place, character in enumerate(text):
        if character < "\x80":
            characters.append(character.lower())
            places.append(place)
            continue
        if _INVISIBLE.match(character):
            continue
        for same in unicodedata.normalize("NFKC", character).lower():
            characters.append("'" if same == "’" else same)
            places.append(place)
    return "".join(characters), places


def _says_something(run: str) -> bool:
    """Whether a run of letters is a sentence in base64 or hex."""
    decoded = []
    with_padding = run.rstrip("=").replace("-", "+").replace("_", "/")
    with_padding = with_padding[: len(with_padding) // 4 * 4]
    with suppress(binascii.Error):
        decoded.append(base64.b64decode(with_padding, validate=True))
    with suppress(ValueError):
        decoded.append(bytes.fromhex(run[: len(run) // 2 * 2]))
    return any(_SENTENCE.match(one.decode("ascii", "replace").lstrip()) for one in decoded)


def signals_of_request(request: Request) -> tuple[Signal, ...]:
    """The signs in what a user wrote, now and before."""
    said: list[tuple[int | None, str]] = [
        (place, turn.text) for place, turn in enumerate(request.history) if turn.role == "user"
    ]
    return tuple(
        Signal(kind=kind, start=start, end=end, turn=place)
        for place, text in [(None, request.text), *said]
        for kind, start, end in _in_order(text, retrieved=False)
    )


def signals_of_chunks(chunks: Sequence[Chunk]) -> tuple[Signal, ...]:
    """The signs in what was retrieved."""
    return tuple(
        Signal(kind=kind, start=start, end=end, handle=chunk.handle)
        for chunk in chunks
        for kind, start, end in _in_chunk(chunk.text)
    )


def signals_of_results(steps: Iterable[Step]) -> tuple[Signal, ...]:
    """The signs in what tools returned, in any text of an output."""
    return tuple(
        sign
        for step in steps
        for result in step.results
        if result.output is not None
        for sign in _in_output(f"r{result.action}", result.output)
    )


_BETWEEN = "\n\0\n"
"""Between the texts of an output that are looked through at once: no pattern goes across it."""


def _in_output(handle: str, output: Any) -> Iterator[Signal]:
    found = list(_texts(output, ""))
    texts = [text for _, text in found]
    starts = list(accumulate((len(text) + len(_BETWEEN) for text in texts), initial=0))
    for kind, start, end in _in_result(_BETWEEN.join(texts)):
        place = bisect_right(starts, start) - 1
        yield Signal(
            kind=kind,
            start=start - starts[place],
            end=min(end - starts[place], len(texts[place])),
            handle=handle,
            pointer=found[place][0] or None,
        )


def _texts(value: Any, pointer: str) -> Iterator[tuple[str, str]]:
    """Each text in a JSON value with its place; names of members are no texts."""
    if isinstance(value, str):
        yield pointer, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _texts(item, f"{pointer}/{_escaped(name)}")
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _texts(item, f"{pointer}/{place}")


def _escaped(name: str) -> str:
    """A member's name as a token of a JSON pointer, without what no event's text may have."""
    if not name.isprintable():
        name = "".join(one if one.isprintable() else "\ufffd" for one in name)
    return name.replace("~", "~0").replace("/", "~1")


def _in_order(text: str, *, retrieved: bool) -> tuple[tuple[SignalKind, int, int], ...]:
    found = sorted(set(signals_in(text, retrieved=retrieved)), key=lambda one: (one[1], one[2]))
    return tuple(found[:MOST])


_in_result = lru_cache(maxsize=64)(partial(_in_order, retrieved=True))
"""Asked for each call that is judged; of an output of many texts there need not be many."""

_in_chunk = lru_cache(maxsize=16_384)(partial(_in_order, retrieved=True))
"""The same chunks come again."""
