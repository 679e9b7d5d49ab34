"""The same index in OpenSearch or Elasticsearch, through their own clients.

Needs the extra `interlock[opensearch]` or `interlock[elasticsearch]`. The keyword leg is a sum of
`rank_feature` clauses, one a term: these fields keep nine significant bits, so its scores are
right to 0.4 %. The dense leg is exact, by a script over what the filter leaves. Tested against a
local server that answers these calls; no OpenSearch and no Elasticsearch was run here.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interlock.retriever.engines.index import DENSE, KEYWORD, Entry
from interlock.retriever.engines.server import (
    MOMENTS,
    WORDS,
    Access,
    Audiences,
    Scored,
    Server,
    ServerIndex,
    record,
)
from interlock.runtime.errors import RetryLater
from interlock_contracts.failures import FailureCode


@dataclass(frozen=True, slots=True)
class Flavour:
    """Where the two differ: the dense field, the script that multiplies, how vectors are read.

    Scores must not be negative, so both scripts give the product plus one.
    """

    field: Callable[[int], Mapping[str, Any]]
    script: Callable[[list[float]], Mapping[str, Any]]
    vectors: Mapping[str, Any]


OPENSEARCH = Flavour(
    field=lambda dimension: {"type": "knn_vector", "dimension": dimension},
    script=lambda vector: {
        "lang": "knn",
        "source": "knn_score",
        "params": {"field": DENSE, "query_value": vector, "space_type": "innerproduct"},
    },
    vectors={"_source": ["body", DENSE]},
)

ELASTICSEARCH = Flavour(
    field=lambda dimension: {"type": "dense_vector", "dims": dimension, "index": False},
    script=lambda vector: {
        "source": f"Math.max(dotProduct(params.query, '{DENSE}') + 1.0, 0)",
        "params": {"query": vector},
    },
    # Since 9.2 `_source` is without vectors.
    vectors={"_source": ["body"], "fields": [DENSE]},
)


class LuceneServer(Server):
    """Indexes there; `client` is an `AsyncOpenSearch` or `AsyncElasticsearch`."""

    def __init__(self, client: Any, flavour: Flavour) -> None:
        self._client = client
        self._flavour = flavour

    async def _index(self, identity: str, dimension: int, audiences: Audiences) -> "LuceneIndex":
        """An index there."""
        name = self.name_of(identity)
        if not await self._client.indices.exists(index=name):
            mapping = {
                **{field: {"type": "keyword"} for field in WORDS},
                **{field: {"type": "long"} for field in MOMENTS},
                "body": {"type": "keyword", "index": False, "doc_values": False},
                KEYWORD: {"type": "rank_features"},
                DENSE: self._flavour.field(dimension),
            }
            body = {"mappings": {"dynamic": False, "properties": mapping}}
            await self._client.indices.create(index=name, body=body)
        return LuceneIndex(self._client, self._flavour, name, identity, audiences)

    async def _names(self) -> Iterable[str]:
        return list(await self._client.indices.get_alias(index="interlock*"))

    async def _drop(self, name: str) -> None:
        """Remove an index."""
        await self._client.indices.delete(index=name, ignore_unavailable=True)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.close()


class LuceneIndex(ServerIndex):
    """An `Index` over one index there."""

    def __init__(
        self, client: Any, flavour: Flavour, name: str, identity: str, audiences: Audiences
    ) -> None:
        super().__init__(name, identity, audiences)
        self._client = client
        self._flavour = flavour

    async def _store(self, batch: Sequence[Entry]) -> None:
        lines: list[dict[str, Any]] = []
        for one in batch:
            fields = record(one)
            name = fields.pop("chunk_id")
            weights = {str(term): weight for term, weight in one.keyword.items() if weight > 0}
            dense = {DENSE: one.dense.tolist()} if one.dense.any() else {}
            lines += ({"index": {"_id": name}}, {**fields, KEYWORD: weights, **dense})
        answer = await self._client.bulk(index=self.name, body=lines, refresh="true")
        if answer["errors"]:
            raise RetryLater(FailureCode.STAGE_FAILED, "the index did not take all passages")

    async def _leg(self, leg: str, vector: Any, access: Access, limit: int) -> Scored:
        readable = _filter(access)
        if leg == KEYWORD:
            clauses = [
                {"rank_feature": {"field": f"{KEYWORD}.{term}", "linear": {}, "boost": weight}}
                for term, weight in vector.items()
            ]
            found = {"bool": {"filter": readable, "should": clauses, "minimum_should_match": 1}}
            return await self._hits(found, limit, 0.0)
        there = {"bool": {"filter": [*readable, {"exists": {"field": DENSE}}]}}
        script = self._flavour.script(vector.tolist())
        return await self._hits({"script_score": {"query": there, "script": script}}, limit, 1.0)

    async def _hits(self, query: Mapping[str, Any], limit: int, less: float) -> Scored:
        body = {"size": limit, "query": query, "_source": False}
        found = await self._client.search(index=self.name, body=body)
        return [(hit["_id"], float(hit["_score"]) - less) for hit in found["hits"]["hits"]]

    async def _read(
        self, chunk_ids: Sequence[str], access: Access, *, vectors: bool
    ) -> Iterable[tuple[str, Sequence[float] | None]]:
        wanted = [*_filter(access), {"ids": {"values": list(chunk_ids)}}]
        body = {
            "size": len(chunk_ids),
            "query": {"bool": {"filter": wanted}},
            **(self._flavour.vectors if vectors else {"_source": ["body"]}),
        }
        found = await self._client.search(index=self.name, body=body)
        hits = ({**hit.get("fields", {}), **hit["_source"]} for hit in found["hits"]["hits"])
        return [(row["body"], row.get(DENSE)) for row in hits]

    async def _remove(self, passages: Sequence[tuple[str, str]]) -> None:
        lines = [{"delete": {"_id": name}} for _, name in passages]
        answer = await self._client.bulk(index=self.name, body=lines, refresh="true")
        # One that is not there has a status of its own, and no error.
        if answer["errors"]:
            raise RetryLater(FailureCode.STAGE_FAILED, "the index did not delete all passages")


def _filter(access: Access) -> list[dict[str, Any]]:
    """What may be read."""
    readable: list[dict[str, Any]] = [
        {"term": {"tenant": access.tenant}},
        {"terms": {"source": list(access.sources)}},
        {"terms": {"audience": list(access.audiences)}},
    ]
    if access.at is not None:
        readable.append({"range": {"valid_from": {"lte": access.at}}})
        readable.append({"range": {"valid_until": {"gt": access.at}}})
    return readable
