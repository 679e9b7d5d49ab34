"""A model of MiniLM's shape with two layers of drawn weights, as an object and as its two files.

`minilm.json` has texts and the first numbers of their vectors, of this model (`drawn`) and of the
published one (`published`), as sentence-transformers 6.2.0 over torch 2.13.0 made them: of the
folder that `write_model` fills, with the published `config.json` (its `num_hidden_layers` and
`vocab_size` changed) and the other files of all-MiniLM-L6-v2 beside it.
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from interlock.retriever.models.minilm import TOKENIZER, WEIGHTS, MiniLM

WIDTH, INNER, LAYERS, PLACES = 384, 1_536, 2, 512

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,?!'"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
WORDS = ("where", "is", "my", "parcel", "refund", "order", "the", "##ing", "##ed", "##s")
VOCABULARY = (*SPECIAL, *LETTERS, *(f"##{one}" for one in LETTERS), *WORDS)

GOLDEN: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text())


def write_model(folder: Path) -> None:
    """Its two files, for `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights(), folder / WEIGHTS)
    tokenizer().save(str(folder / TOKENIZER))


@lru_cache(maxsize=1)
def drawn_model() -> MiniLM:
    """The model itself."""
    return MiniLM(weights(), tokenizer(), "drawn")


def tokenizer() -> Tokenizer:
    """BERT's, for a vocabulary of letters and some words."""
    numbers = {word: number for number, word in enumerate(VOCABULARY)}
    made = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    around = [(name, numbers[name]) for name in ("[CLS]", "[SEP]")]
    made.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, around)
    return made


def weights() -> dict[str, NDArray[np.float32]]:
    """Drawn by a generator that NumPy promises never to change."""
    draw = np.random.RandomState(25)

    def drawn(*shape: int, mean: float = 0.0, spread: float = 0.05) -> NDArray[np.float32]:
        return (mean + spread * draw.standard_normal(shape)).astype(np.float32)

    def norm(name: str) -> None:
        made[f"{name}.LayerNorm.weight"] = drawn(WIDTH, mean=1.0)
        made[f"{name}.LayerNorm.bias"] = drawn(WIDTH)

    def linear(name: str, rows: int, columns: int) -> None:
        made[f"{name}.weight"] = drawn(rows, columns)
        made[f"{name}.bias"] = drawn(rows)

    made: dict[str, NDArray[np.float32]] = {}
    for name, rows in (("word", len(VOCABULARY)), ("position", PLACES), ("token_type", 2)):
        made[f"embeddings.{name}_embeddings.weight"] = drawn(rows, WIDTH)
    norm("embeddings")
    for number in range(LAYERS):
        at = f"encoder.layer.{number}"
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            linear(f"{at}.attention.{name}", WIDTH, WIDTH)
        norm(f"{at}.attention.output")
        linear(f"{at}.intermediate.dense", INNER, WIDTH)
        linear(f"{at}.output.dense", WIDTH, INNER)
        norm(f"{at}.output")
    return made
