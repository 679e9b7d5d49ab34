"""Embedders and rerankers that run here, through fastembed (ONNX); never downloaded by itself.

Needs the extra `interlock[fastembed]`. A model is a name fastembed knows, found in `folder` as
its cache; or `folder` itself, or one in it of the model's name, holds the model's files.
"""

import asyncio
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from interlock.runtime.embedding import Vectors
from interlock.runtime.errors import UserError

MODEL_FILE = "model.onnx"


class FastEmbedder:
    """A `TextEmbedder` over fastembed's dense models. It `waits`: it is called in a thread."""

    waits = True

    def __init__(self, model: Any, name: str, dimensions: int) -> None:
        self.name = name
        self.dimensions = dimensions
        self._model = model

    def embed(self, texts: Sequence[str]) -> Vectors:
        """The vectors of `texts`, shape `(len(texts), dimensions)`, of unit length."""
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        places = [place for place, text in enumerate(texts) if text.strip()]
        for place, vector in zip(
            places, self._model.embed([texts[i] for i in places]), strict=True
        ):
            length = float(np.linalg.norm(vector))
            vectors[place] = np.asarray(vector, np.float32) / (length or 1.0)
        return vectors


class FastSparse:
    """A `SparseEmbedder` over fastembed's sparse models."""

    def __init__(self, model: Any, name: str) -> None:
        self.name = name
        self._model = model

    def passages(self, texts: Sequence[str]) -> list[dict[int, float]]:
        """Weights by token of each text; none of a text without words."""
        found: list[dict[int, float]] = [{} for _ in texts]
        places = [place for place, text in enumerate(texts) if text.strip()]
        made = self._model.embed([texts[place] for place in places])
        for place, one in zip(places, made, strict=True):
            found[place] = _weights(one)
        return found

    def query(self, text: str) -> dict[int, float]:
        """Weights by token."""
        return _weights(next(iter(self._model.query_embed(text))))


def _weights(made: Any) -> dict[int, float]:
    pairs = zip(made.indices.tolist(), made.values.tolist(), strict=True)
    return {token: weight for token, weight in pairs if weight > 0}


class FastReranker:
    """A `Reranker` over fastembed's cross-encoders."""

    def __init__(self, model: Any, name: str) -> None:
        self.name = name
        self._model = model

    async def scores(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """The model's logits."""
        return await asyncio.to_thread(lambda: list(map(float, self._model.rerank(query, texts))))


def fast_embedder(model: str, folder: Path | None, dimensions: int | None = None) -> FastEmbedder:
    """The dense model of this name; `UserError` where it, or fastembed, is not here.

    `dimensions` are needed for a model that fastembed does not know by name: `folder` then holds
    its files, and its token vectors are averaged.
    """
    library = _library("fastembed")
    known = {one["model"]: int(one["dim"]) for one in library.TextEmbedding.list_supported_models()}
    if model not in known:
        if dimensions is None:
            raise UserError(f"fastembed does not know {model!r}: say how many dimensions it has")
        described = import_module("fastembed.common.model_description")
        library.TextEmbedding.add_custom_model(
            model,
            pooling=described.PoolingType.MEAN,
            normalization=True,
            sources=described.ModelSource(hf=model),
            dim=dimensions,
            model_file=MODEL_FILE,
        )
        known[model] = dimensions
    made = _load(library.TextEmbedding, model, folder)
    return FastEmbedder(made, f"fastembed-{version('fastembed')}-{model}", known[model])


def fast_reranker(model: str, folder: Path | None) -> FastReranker:
    """The cross-encoder of this name; `UserError` where it, or fastembed, is not here."""
    encoder = _library("fastembed.rerank.cross_encoder").TextCrossEncoder
    if model not in {one["model"] for one in encoder.list_supported_models()}:
        described = import_module("fastembed.common.model_description")
        encoder.add_custom_model(
            model, sources=described.ModelSource(hf=model), model_file=MODEL_FILE
        )
    return FastReranker(_load(encoder, model, folder), f"fastembed-{version('fastembed')}-{model}")


def fast_sparse(model: str, folder: Path | None) -> FastSparse:
    """The sparse model of this name; `UserError` where it, or fastembed, is not here.

    Models whose weights an engine has to multiply with frequencies of its own are refused: what a
    reader may not see would count.
    """
    library = _library("fastembed")
    known = {one["model"]: one for one in library.SparseTextEmbedding.list_supported_models()}
    whole = [name for name, one in known.items() if not one["requires_idf"]]
    if model not in whole:
        raise UserError(
            f"the sparse model {model!r} is unknown to fastembed, or leaves frequencies to the "
            f"engine; these can be used: {', '.join(sorted(whole))}"
        )
    made = _load(library.SparseTextEmbedding, model, folder)
    return FastSparse(made, f"fastembed-{version('fastembed')}-{model}")


def _load(kind: Any, model: str, folder: Path | None) -> Any:
    """From a folder with the model's own files, or from fastembed's cache."""
    mine = [] if folder is None else [folder / model.rpartition("/")[2], folder]
    own = next((one for one in mine if (one / "tokenizer.json").is_file()), None)
    where = {"specific_model_path": str(own)} if own else {"cache_dir": folder and str(folder)}
    try:
        return kind(model, local_files_only=True, **where)
    except Exception as error:  # fastembed raises whatever its parts do
        raise UserError(
            f"the model {model!r} is not in {folder or 'the cache of fastembed'}: {error}"
        ) from None


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError:
        raise UserError("fastembed is not installed: pip install 'interlock[fastembed]'") from None
