"""A sparse model of a few words, as an object and as files that fastembed loads."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

RELATED = {"sofa": {"sofa": 1.0, "couch": 0.8}, "couch": {"couch": 1.0, "sofa": 0.8}}
"""What a word says of itself and of others."""

VOCABULARY = ("[PAD]", "[UNK]", "sofa", "couch", "leather", "table")


class Furniture:
    """A `SparseEmbedder`; `seen` are the passages that it was given."""

    name = "furniture-1"

    def __init__(self) -> None:
        self.seen: list[str] = []

    def passages(self, texts: Sequence[str]) -> list[dict[int, float]]:
        self.seen += texts
        return [self.query(text) for text in texts]

    def query(self, text: str) -> dict[int, float]:
        weights: dict[int, float] = {}
        for word in text.lower().replace(".", " ").replace("?", " ").split():
            known = {word: 1.0} if word in VOCABULARY else {}
            for other, weight in RELATED.get(word, known).items():
                token = VOCABULARY.index(other)
                weights[token] = max(weights.get(token, 0.0), weight)
        return weights


def write_model(folder: Path) -> None:
    """A masked language model in ONNX whose logits make the weights above, and its tokeniser."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(_model())
    tokenizer = Tokenizer(
        models.WordLevel({word: token for token, word in enumerate(VOCABULARY)}, "[UNK]")
    )
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    told = {"model_max_length": 512, "pad_token": "[PAD]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))


def _model() -> bytes:
    """`logits = Gather(table, input_ids)`, in the fields of onnx.proto3."""
    size = len(VOCABULARY)
    logits = np.full((size, size), -1, np.float32)
    for row, word in enumerate(VOCABULARY[2:], 2):
        for other, weight in RELATED.get(word, {word: 1.0}).items():
            # SPLADE takes log(1 + relu(logit)).
            logits[row, VOCABULARY.index(other)] = np.expm1(weight)
    tensor = _message((1, size), (1, size), (2, _FLOAT), (8, b"table"), (9, logits.tobytes()))
    node = _message((1, b"table"), (1, b"input_ids"), (2, b"logits"), (4, b"Gather"))
    graph = _message(
        *((1, node), (2, b"furniture"), (5, tensor)),
        *((11, _value(name, _INT64, b"batch", b"tokens")) for name in _INPUTS),
        (12, _value(b"logits", _FLOAT, b"batch", b"tokens", size)),
    )
    return _message((1, 8), (7, graph), (8, _message((1, b""), (2, 17))))


_FLOAT, _INT64 = 1, 7
_INPUTS = (b"input_ids", b"attention_mask")


def _value(name: bytes, kind: int, *shape: int | bytes) -> bytes:
    """A `ValueInfoProto`: sizes, or names of sizes that vary."""
    each = (_message((1 if isinstance(one, int) else 2, one)) for one in shape)
    dimensions = _message(*((1, one) for one in each))
    return _message((1, name), (2, _message((1, _message((1, kind), (2, dimensions))))))


def _message(*fields: tuple[int, int | bytes]) -> bytes:
    """Protocol Buffers: numbers as varints, all else with its length before it."""
    made = b""
    for number, value in fields:
        if isinstance(value, int):
            made += _varint(number << 3) + _varint(value)
        else:
            made += _varint(number << 3 | 2) + _varint(len(value)) + value
    return made


def _varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])
