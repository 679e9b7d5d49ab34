"""The same index in Weaviate, over its REST and GraphQL API.

Needs Weaviate 1.23 or later with GraphQL switched on, and no extra: its own client pins libraries
that others here need newer. Weaviate has no sparse vectors, so the keyword leg has two steps: its
BM25, within the filter, says which passages hold a term of the query, and their own weights are
added up here. That is exact while no more than `CANDIDATES` do; of more, BM25 chooses, by
frequencies over the whole collection. The dense leg is exact, by a flat index. Tested against a
local server that answers these calls; no Weaviate was run here.
"""

import json
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import httpx

from interlock.retriever.engines.index import DENSE, Entry
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
from interlock.runtime.errors import RetryLater, UserError
from interlock_contracts.failures import FailureCode

CANDIDATES = 1_000
"""Passages whose weights are read for one keyword leg; a server returns 10,000 at most."""

TIMEOUT_S = 30.0


class WeaviateServer(Server):
    """Collections there; `url` is what is before `/v1`."""

    def __init__(self, url: str, key: str | None = None) -> None:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        base = f"{url.rstrip('/')}/v1/"
        self._client = httpx.AsyncClient(base_url=base, headers=headers, timeout=TIMEOUT_S)

    def name_of(self, identity: str) -> str:
        """Names of collections begin with a capital."""
        return super().name_of(identity).capitalize()

    async def _index(
        self,
        identity: str,
        dimension: int,  # noqa: ARG002  # a collection takes it from its first vector
        audiences: Audiences,
    ) -> "WeaviateIndex":
        """A collection."""
        name = self.name_of(identity)
        if (await self.call("GET", f"schema/{name}", fine=404)).status_code == 404:
            made = await self.call("POST", "schema", _collection(name), fine=422)
            if made.status_code == 422:
                # Another process was first; if it was not that, it is still not there.
                await self.call("GET", f"schema/{name}")
        return WeaviateIndex(self, name, identity, audiences)

    async def _names(self) -> Iterable[str]:
        schema = (await self.call("GET", "schema")).json()
        return [one["class"] for one in schema["classes"]]

    async def _drop(self, name: str) -> None:
        """Remove a collection."""
        await self.call("DELETE", f"schema/{name}")

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()

    async def ask(self, query: str) -> dict[str, Any]:
        """The `data` of a query; its errors come with status 200."""
        answer = (await self.call("POST", "graphql", {"query": query})).json()
        if answer.get("errors"):
            said = str(answer["errors"][0].get("message"))[:200]
            raise RetryLater(FailureCode.STAGE_FAILED, f"Weaviate did not answer a query: {said}")
        data: dict[str, Any] = answer["data"]
        return data

    async def call(
        self, method: str, path: str, body: object = None, *, fine: int = 200
    ) -> httpx.Response:
        """The response, of a status below 400 or of `fine`."""
        where = self._client.base_url.host
        try:
            response = await self._client.request(method, path, json=body)
        except httpx.TransportError as error:
            said = f"{where} does not answer: {type(error).__name__}"
            raise RetryLater(FailureCode.STAGE_FAILED, said) from None
        status = response.status_code
        if status < 400 or status == fine:
            return response
        if status in (401, 403):
            raise UserError(f"{where} refuses the key; check INTERLOCK_WEAVIATE_API_KEY")
        if status == 429 or status >= 500:
            raise RetryLater(FailureCode.STAGE_FAILED, f"{where} answers {status} to {path}")
        raise UserError(
            f"{where} answers {status} to {path}: check INTERLOCK_WEAVIATE_URL, and that the "
            "server has its GraphQL API switched on"
        )


class WeaviateIndex(ServerIndex):
    """An `Index` over one collection there."""

    def __init__(
        self, server: WeaviateServer, name: str, identity: str, audiences: Audiences
    ) -> None:
        super().__init__(name, identity, audiences)
        self._server = server

    async def _store(self, batch: Sequence[Entry]) -> None:
        body = {"objects": [_object(self.name, one) for one in batch]}
        stored = (await self._server.call("POST", "batch/objects", body)).json()
        if any(one["result"].get("errors") for one in stored):
            raise RetryLater(FailureCode.STAGE_FAILED, "Weaviate did not take all passages")

    async def _leg(self, leg: str, vector: Any, access: Access, limit: int) -> Scored:
        where = _filter(access)
        if leg == DENSE:
            near = f"nearVector: {{vector: {_literal(vector.tolist())}}}, where: {where}"
            rows = await self._found(near, limit, "chunk_id _additional { distance }")
            # The distance is the product, negated.
            return [(row["chunk_id"], -float(row["_additional"]["distance"])) for row in rows]
        asked = _literal(" ".join(str(term) for term in vector))
        words = f'bm25: {{query: {asked}, properties: ["terms"]}}, where: {where}'
        rows = await self._found(words, max(limit, CANDIDATES), "chunk_id weights")
        return [(row["chunk_id"], _product(vector, json.loads(row["weights"]))) for row in rows]

    async def _read(
        self, chunk_ids: Sequence[str], access: Access, *, vectors: bool
    ) -> Iterable[tuple[str, Sequence[float] | None]]:
        where = _filter(access, _operand("chunk_id", "ContainsAny", list(chunk_ids)))
        fields = "body _additional { vector }" if vectors else "body"
        rows = await self._found(f"where: {where}", len(chunk_ids), fields)
        # A passage without a vector has an empty one there.
        return [
            (row["body"], (row["_additional"]["vector"] or None) if vectors else None)
            for row in rows
        ]

    async def _remove(self, passages: Sequence[tuple[str, str]]) -> None:
        these = {
            "path": ["chunk_id"],
            "operator": "ContainsAny",
            "valueTextArray": [name for _, name in passages],
        }
        body = {"match": {"class": self.name, "where": these}, "output": "minimal"}
        done = (await self._server.call("DELETE", "batch/objects", body)).json()["results"]
        if done.get("failed"):
            raise RetryLater(FailureCode.STAGE_FAILED, "Weaviate did not delete all passages")

    async def _found(self, arguments: str, limit: int, fields: str) -> list[dict[str, Any]]:
        query = f"{{ Get {{ {self.name}({arguments}, limit: {limit}) {{ {fields} }} }} }}"
        rows: list[dict[str, Any]] = (await self._server.ask(query))["Get"][self.name]
        return rows


def _collection(name: str) -> dict[str, Any]:
    """How it is stored: text that is filtered by as it is, terms for BM25, the rest unindexed."""
    plain = {"dataType": ["text"], "indexFilterable": False, "indexSearchable": False}
    whole = {**plain, "tokenization": "field", "indexFilterable": True}
    return {
        "class": name,
        "vectorizer": "none",
        "vectorIndexType": "flat",
        # A server may compress vectors unless it is told not to.
        "vectorIndexConfig": {"distance": "dot", "skipDefaultQuantization": True},
        "invertedIndexConfig": {"stopwords": {"preset": "none"}},
        "properties": [
            *({"name": field, **whole} for field in ("chunk_id", *WORDS)),
            # Not `int`: GraphQL's has 32 bits there. Microseconds are exact in a double.
            *({"name": field, "dataType": ["number"]} for field in MOMENTS),
            {"name": "terms", **plain, "tokenization": "whitespace", "indexSearchable": True},
            {"name": "weights", **plain},
            {"name": "body", **plain},
        ],
    }


def _object(name: str, entry: Entry) -> dict[str, Any]:
    fields = record(entry)
    weights = {str(term): weight for term, weight in entry.keyword.items() if weight > 0}
    fields |= {"terms": " ".join(weights), "weights": json.dumps(weights)}
    same = str(uuid.uuid5(uuid.NAMESPACE_OID, entry.passage.chunk_id))
    dense = {"vector": entry.dense.tolist()} if entry.dense.any() else {}
    return {"class": name, "id": same, "properties": fields, **dense}


def _product(query: dict[int, float], weights: dict[str, float]) -> float:
    return sum(weight * weights.get(str(term), 0.0) for term, weight in query.items())


def _filter(access: Access, *more: str) -> str:
    """What may be read, and `more` operands."""
    readable = [
        _operand("tenant", "Equal", access.tenant),
        _operand("source", "ContainsAny", list(access.sources)),
        _operand("audience", "ContainsAny", list(access.audiences)),
        *more,
    ]
    if access.at is not None:
        readable.append(_operand("valid_from", "LessThanEqual", access.at))
        readable.append(_operand("valid_until", "GreaterThan", access.at))
    return f"{{operator: And, operands: [{', '.join(readable)}]}}"


def _operand(field: str, operator: str, value: str | list[str] | int) -> str:
    kind = "valueNumber" if isinstance(value, int) else "valueText"
    return f'{{path: ["{field}"], operator: {operator}, {kind}: {_literal(value)}}}'


def _literal(value: object) -> str:
    """GraphQL's strings, numbers and lists of them are spelt as JSON's."""
    return json.dumps(value, ensure_ascii=False)
