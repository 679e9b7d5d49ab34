"""The retriever's own settings: `INTERLOCK_*`, beside those that every service has."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from interlock_contracts.base import Token


def _split(value: object) -> object:
    return tuple(value.split(",")) if isinstance(value, str) else value


DataClasses = Annotated[tuple[Token, ...], NoDecode, BeforeValidator(_split)]


class RetrieverSettings(BaseSettings):
    """Where the index is, and what embeds, reranks, rewrites and is searched beside it."""

    model_config = SettingsConfigDict(env_prefix="INTERLOCK_", extra="ignore")

    qdrant_url: str | None = Field(default=None, description="a Qdrant server or cluster")
    qdrant_api_key: SecretStr | None = None
    postgres_index_url: SecretStr | None = Field(
        default=None, description="PostgreSQL with the extension vector"
    )
    milvus_uri: str | None = Field(default=None, description="a Milvus server, or a file's name")
    milvus_token: SecretStr | None = None
    opensearch_url: SecretStr | None = Field(
        default=None, description="with user and password in it, if it wants them"
    )
    elasticsearch_url: str | None = None
    elasticsearch_api_key: SecretStr | None = None
    pinecone_host: str | None = Field(
        default=None, description="an index of metric dotproduct and the embedder's dimensions"
    )
    pinecone_api_key: SecretStr | None = None
    weaviate_url: str | None = Field(default=None, description="what is before /v1")
    weaviate_api_key: SecretStr | None = None

    indexes_kept: int = Field(
        default=4, ge=2, description="generations kept, here or on the server, to go back to"
    )

    embedder: str = Field(
        default="wordllama", description="wordllama, minilm, fastembed:<model> or api:<model>"
    )
    embedder_url: str | None = Field(
        default=None, description="for api: the address before /embeddings"
    )
    embedder_api_key: SecretStr | None = None
    embedder_dimensions: int | None = Field(default=None, ge=1)
    embedder_region: str | None = Field(
        default=None, description="for api: where it processes what it is sent"
    )
    embedder_data_classes: DataClasses = Field(
        default=(), description="for api: the classes of data it may have, with commas between"
    )
    embedder_per_minute: int | None = Field(default=None, ge=1, description="calls of one process")
    sparse: str | None = Field(default=None, description="fastembed:<sparse model>")
    reranker: str | None = Field(default=None, description="fastembed:<model> or api:<model>")
    reranker_url: str | None = Field(
        default=None, description="for api: the address before /rerank"
    )
    reranker_api_key: SecretStr | None = None
    reranker_region: str | None = Field(default=None, description="as embedder_region")
    reranker_data_classes: DataClasses = Field(default=(), description="as embedder_data_classes")
    model_folder: Path | None = Field(
        default=None,
        description="fastembed's cache, or the folder of one model or several (minilm's, too)",
    )
    rewriter: str | None = Field(default=None, description="package.module:name of a Rewriter")
    external_sources: str | None = Field(
        default=None, description="package.module:name of a mapping of source to External"
    )
