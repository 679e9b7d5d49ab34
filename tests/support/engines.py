"""A local server that answers as OpenSearch, Elasticsearch, Pinecone and Weaviate do.

It evaluates the documented filters and scores, as far as they are asked for, so that the
conformance suite holds for the adapters; what a real server does with the same requests is not
shown by it.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.support.lucene import Lucene, Product
from tests.support.weaviate import Weaviate

Json = Any


class Engines:
    """What is stored, for Pinecone by namespace and id, and every request that was made."""

    def __init__(self, product: Product) -> None:
        self.stored: dict[str, dict[str, Json]] = {}
        self.seen: list[tuple[str, str, Json]] = []
        self.authorizations: list[str | None] = []
        self.weaviate = Weaviate()
        self.lucene = Lucene(product)

    def answer(self, method: str, path: str, body: list[Json], media: str) -> tuple[int, Json]:
        """(status, JSON) of one request; `body` are its lines, `media` says what they are."""
        parts = [unquote(part) for part in path.strip("/").split("/")]
        match (method, *parts):
            case (_, "v1", *rest):
                return self.weaviate.answer(method, rest, body[0] if body else None)
            case ("POST", "vectors", "upsert"):
                return 200, self._pinecone_upsert(body[0])
            case ("POST", "vectors", "delete"):
                self._pinecone_delete(body[0])
                return 200, {}
            case ("POST", "query"):
                return 200, self._pinecone_query(body[0])
            case ("GET" | "POST", "vectors", "fetch"):
                return 200, self._pinecone_fetch(body[0])
            case ("POST", "describe_index_stats"):
                counts = {name: {"vectorCount": len(rows)} for name, rows in self.stored.items()}
                return 200, {"namespaces": counts, "dimension": 8}
        return self.lucene.answer(method, parts, body, media)

    def _pinecone_upsert(self, body: Json) -> Json:
        space = self.stored.setdefault(body.get("namespace", ""), {})
        for row in body["vectors"]:
            assert any(row["values"]), "Pinecone refuses vectors of zeros"
            space[row["id"]] = row
        return {"upsertedCount": len(body["vectors"])}

    def _pinecone_delete(self, body: Json) -> None:
        if body.get("deleteAll"):
            del self.stored[body["namespace"]]
            return
        assert 0 < len(body["ids"]) <= 1_000
        for name in body["ids"]:
            self.stored[body["namespace"]].pop(name, None)
        if not self.stored[body["namespace"]]:
            del self.stored[body["namespace"]]

    def _pinecone_query(self, body: Json) -> Json:
        rows = self.stored.get(body.get("namespace", ""), {}).values()
        sparse = body.get("sparseVector") or {"indices": [], "values": []}
        weights = dict(zip(sparse["indices"], sparse["values"], strict=True))
        matches = []
        for row in rows:
            if not _matches(body["filter"], row["metadata"]):
                continue
            own = row.get("sparseValues") or {"indices": [], "values": []}
            score = sum(a * b for a, b in zip(body["vector"], row["values"], strict=True))
            for term, weight in zip(own["indices"], own["values"], strict=True):
                score += weights.get(term, 0.0) * weight
            matches.append({"id": row["id"], "score": score})
        matches.sort(key=lambda one: (-one["score"], one["id"]))
        return {"matches": matches[: body["topK"]], "namespace": body.get("namespace", "")}

    def _pinecone_fetch(self, query: Json) -> Json:
        space = self.stored.get(query["namespace"], {})
        return {"vectors": {name: space[name] for name in query["ids"] if name in space}}


def _matches(wanted: Mapping[str, Json], metadata: Mapping[str, Json]) -> bool:
    for field, condition in wanted.items():
        ((operator, value),) = condition.items()
        if not _OPERATORS[operator](metadata[field], value):
            return False
    return True


_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "$eq": lambda own, value: bool(own == value),
    "$in": lambda own, value: own in value,
    "$lte": lambda own, value: bool(own <= value),
    "$gt": lambda own, value: bool(own > value),
}


@contextmanager
def serving(product: Product = "opensearch") -> Iterator[tuple[str, Engines]]:
    """(URL, what it holds) of a server on a free port; of the two, it is `product`."""
    engines = Engines(product)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body are two packets: without this the second waits for 40 ms.
        disable_nagle_algorithm = True

        def handle_one(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            raw = self.rfile.read(length)
            body = [json.loads(line) for line in raw.split(b"\n") if line.strip()]
            where = urlsplit(self.path)
            if not body and where.path == "/vectors/fetch":
                pairs = [pair.partition("=") for pair in where.query.split("&")]
                body = [
                    {
                        "ids": [unquote(value) for name, _, value in pairs if name == "ids"],
                        "namespace": next(unquote(v) for n, _, v in pairs if n == "namespace"),
                    }
                ]
            engines.seen.append((self.command, self.path, body))
            engines.authorizations.append(self.headers.get("authorization"))
            media = self.headers.get("content-type") or ""
            status, answer = engines.answer(self.command, where.path, body, media)
            data = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            if product == "elasticsearch":
                # Without it the client takes the server for something else.
                self.send_header("x-elastic-product", "Elasticsearch")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_one

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", engines
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
