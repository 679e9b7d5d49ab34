"""The parts that settings name, made: backend, embedder, reranker, rewriter, external sources.

Every library is imported where it is wanted; what is missing or misspelt is a `UserError`.
"""

import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from interlock.bundles.model import Bundle
from interlock.retriever.engines.server import Server
from interlock.retriever.external import External, WithExternal, narrowed
from interlock.retriever.models.fast import fast_embedder, fast_reranker, fast_sparse
from interlock.retriever.models.hosted import Api, ApiEmbedder, ApiReranker, Place
from interlock.retriever.models.minilm import load_minilm
from interlock.retriever.private import private_embedder, private_reranker
from interlock.retriever.ranking.pooled import load_pooled
from interlock.retriever.ranking.rerank import Reranker
from interlock.retriever.ranking.sparse import WithSparse
from interlock.retriever.search import Rewriter, Search
from interlock.retriever.searcher import Searcher
from interlock.retriever.settings import RetrieverSettings
from interlock.runtime.embedding import TextEmbedder
from interlock.runtime.errors import UserError


@dataclass(frozen=True, slots=True)
class Parts:
    """What an installation searches with; without `server` the index is embedded."""

    embedder: TextEmbedder
    server: Server | None = None
    reranker: Reranker | None = None
    rewriter: Rewriter | None = None
    external: Mapping[str, External] = field(default_factory=dict)

    def of(self, bundle: Bundle) -> "Parts":
        """The same for a bundle: as it says of its sources, and of what is sent outside."""
        return replace(
            self,
            embedder=private_embedder(self.embedder, bundle),
            reranker=private_reranker(self.reranker, bundle),
            external=narrowed(self.external, bundle.sources),
        )

    def unknown_to(self, bundle: Bundle) -> list[str]:
        """The external sources that the bundle does not have: nobody can ask them."""
        return sorted(set(self.external) - set(bundle.sources))

    def around(self, searcher: Searcher) -> Search:
        """The search over an index, with everything that is beside it."""
        made = searcher.using(reranker=self.reranker, rewriter=self.rewriter)
        return WithExternal(made, self.external) if self.external else made

    async def aclose(self) -> None:
        """Let go of the connections to the server, if there is one."""
        if self.server is not None:
            await self.server.close()


def parts_of(settings: RetrieverSettings) -> Parts:
    """Everything that the settings name; raises `UserError`."""
    return Parts(
        embedder_of(settings),
        server_of(settings),
        reranker_of(settings),
        rewriter_of(settings),
        external_of(settings),
    )


def server_of(settings: RetrieverSettings) -> Server | None:
    """The one server that the settings name; None: the embedded index."""
    known: Mapping[str, tuple[object, Callable[[RetrieverSettings], Server]]] = {
        "INTERLOCK_QDRANT_URL": (settings.qdrant_url, _qdrant),
        "INTERLOCK_POSTGRES_INDEX_URL": (settings.postgres_index_url, _postgres),
        "INTERLOCK_MILVUS_URI": (settings.milvus_uri, _milvus),
        "INTERLOCK_OPENSEARCH_URL": (settings.opensearch_url, _opensearch),
        "INTERLOCK_ELASTICSEARCH_URL": (settings.elasticsearch_url, _elasticsearch),
        "INTERLOCK_PINECONE_HOST": (settings.pinecone_host, _pinecone),
        "INTERLOCK_WEAVIATE_URL": (settings.weaviate_url, _weaviate),
    }
    named = [name for name, (value, _) in known.items() if value is not None]
    if len(named) > 1:
        raise UserError(f"an index has one place: unset all but one of {', '.join(named)}")
    return known[named[0]][1](settings) if named else None


def _qdrant(settings: RetrieverSettings) -> Server:
    library = _library("qdrant_client", "qdrant")
    from interlock.retriever.engines.qdrant import QdrantServer

    key = _secret(settings.qdrant_api_key)
    # The check asks the server at once, and blocks.
    client = library.AsyncQdrantClient(
        url=settings.qdrant_url, api_key=key, check_compatibility=False
    )
    return QdrantServer(client)


def _postgres(settings: RetrieverSettings) -> Server:
    _library("asyncpg", "pgvector")
    from interlock.retriever.engines.pgvector import PgServer

    return PgServer(_secret(settings.postgres_index_url) or "")


def _milvus(settings: RetrieverSettings) -> Server:
    library = _library("pymilvus", "milvus")
    from interlock.retriever.engines.milvus import MilvusServer

    token = _secret(settings.milvus_token) or ""
    return MilvusServer(library.MilvusClient(settings.milvus_uri, token=token))


def _opensearch(settings: RetrieverSettings) -> Server:
    library = _library("opensearchpy", "opensearch")
    from interlock.retriever.engines.lucene import OPENSEARCH, LuceneServer

    # Both log every failed call with its traceback, which the error that they raise has, too.
    logging.getLogger("opensearch").setLevel(logging.ERROR)
    return LuceneServer(library.AsyncOpenSearch(_secret(settings.opensearch_url)), OPENSEARCH)


def _elasticsearch(settings: RetrieverSettings) -> Server:
    library = _library("elasticsearch", "elasticsearch")
    from interlock.retriever.engines.lucene import ELASTICSEARCH, LuceneServer

    logging.getLogger("elastic_transport").setLevel(logging.ERROR)
    key = _secret(settings.elasticsearch_api_key)
    client = library.AsyncElasticsearch(settings.elasticsearch_url, api_key=key)
    return LuceneServer(client, ELASTICSEARCH)


def _pinecone(settings: RetrieverSettings) -> Server:
    library = _library("pinecone", "pinecone")
    from interlock.retriever.engines.pinecone import PineconeServer

    key = _secret(settings.pinecone_api_key)
    return PineconeServer(library.AsyncIndex(host=settings.pinecone_host, api_key=key))


def _weaviate(settings: RetrieverSettings) -> Server:
    from interlock.retriever.engines.weaviate import WeaviateServer

    return WeaviateServer(settings.weaviate_url or "", _secret(settings.weaviate_api_key))


def embedder_of(settings: RetrieverSettings) -> TextEmbedder:
    """The embedder that the settings name, with the sparse model beside it if they name one."""
    dense = _dense(settings)
    if settings.sparse is None:
        return dense
    kind, _, model = settings.sparse.partition(":")
    if kind == "fastembed" and model:
        return WithSparse(dense, fast_sparse(model, settings.model_folder))
    raise UserError(f"INTERLOCK_SPARSE: {settings.sparse!r} is not fastembed:<model>")


def _dense(settings: RetrieverSettings) -> TextEmbedder:
    kind, _, model = settings.embedder.partition(":")
    if kind == "wordllama" and not model:
        return load_pooled()
    if kind == "minilm" and not model:
        return load_minilm(settings.model_folder)
    if kind == "fastembed" and model:
        return fast_embedder(model, settings.model_folder, settings.embedder_dimensions)
    if kind == "api" and model:
        if settings.embedder_url is None or settings.embedder_dimensions is None:
            raise UserError(
                "an embedder by API needs INTERLOCK_EMBEDDER_URL and INTERLOCK_EMBEDDER_DIMENSIONS"
            )
        key = _secret(settings.embedder_api_key)
        api = Api(settings.embedder_url, key, per_minute=settings.embedder_per_minute)
        place = Place(
            "INTERLOCK_EMBEDDER", settings.embedder_region, settings.embedder_data_classes
        )
        return ApiEmbedder(api, model, settings.embedder_dimensions, place)
    raise UserError(
        f"INTERLOCK_EMBEDDER: {settings.embedder!r} is none of wordllama, minilm, "
        "fastembed:<model>, api:<model>"
    )


def reranker_of(settings: RetrieverSettings) -> Reranker | None:
    """The reranker that the settings name, if they do."""
    if settings.reranker is None:
        return None
    kind, _, model = settings.reranker.partition(":")
    if kind == "fastembed" and model:
        return fast_reranker(model, settings.model_folder)
    if kind == "api" and model:
        if settings.reranker_url is None:
            raise UserError("a reranker by API needs INTERLOCK_RERANKER_URL")
        api = Api(settings.reranker_url, _secret(settings.reranker_api_key))
        place = Place(
            "INTERLOCK_RERANKER", settings.reranker_region, settings.reranker_data_classes
        )
        return ApiReranker(api, model, place)
    raise UserError(
        f"INTERLOCK_RERANKER: {settings.reranker!r} is neither fastembed:<model> nor api:<model>"
    )


def rewriter_of(settings: RetrieverSettings) -> Rewriter | None:
    """The rewriter that the settings name, if they do."""
    if settings.rewriter is None:
        return None
    found = _named(settings.rewriter)
    if not callable(getattr(found, "rewrite", None)):
        raise UserError(f"{settings.rewriter} has no method `rewrite`")
    return found  # type: ignore[no-any-return]  # whatever has the method


def external_of(settings: RetrieverSettings) -> Mapping[str, External]:
    """The sources that are searched elsewhere, by the name of the source."""
    if settings.external_sources is None:
        return {}
    found = _named(settings.external_sources)
    if not isinstance(found, Mapping) or not all(
        isinstance(one, External) for one in found.values()
    ):
        raise UserError(f"{settings.external_sources} is no mapping of sources to `External`")
    return found


def _named(reference: str) -> Any:
    """What `package.module:name` names; modules are looked for in the current folder, too."""
    module, colon, name = reference.partition(":")
    if not colon:
        raise UserError(f"{reference!r} is not of the form package.module:name")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"there is nothing at {reference}: {error}") from None
    except Exception as error:  # whatever somebody's module does when it is imported
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{module} cannot be imported: {said}") from None


def _library(module: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError:
        raise UserError(f"{module} is not installed: pip install 'interlock[{extra}]'") from None


def _secret(value: SecretStr | None) -> str | None:
    return None if value is None else value.get_secret_value()
