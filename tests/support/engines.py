"""A local server that answers as OpenSearch, Elasticsearch, Pinecone and Weaviate do.

It evaluates the documented filters and scores, as far as they are asked for, so that the
conformance suite holds for the adapters; what a real server does with the same requests is not
shown by it.
"""

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.support.weaviate import Weaviate

Json = Any


class Engines:
    """Documents by index (or namespace) and id, and every request that was made."""

    def __init__(self) -> None:
        self.stored: dict[str, dict[str, Json]] = {}
        self.seen: list[tuple[str, str, Json]] = []
        self.authorizations: list[str | None] = []
        self.weaviate = Weaviate()

    def answer(self, method: str, path: str, body: list[Json]) -> tuple[int, Json]:
        """(status, JSON) of one request; `body` are its lines."""
        parts = [unquote(part) for part in path.strip("/").split("/")]
        match (method, *parts):
            case (_, "v1", *rest):
                return self.weaviate.answer(method, rest, body[0] if body else None)
            case ("POST", "vectors", "upsert"):
                return 200, self._pinecone_upsert(body[0])
            case ("POST", "vectors", "delete"):
                assert body[0]["deleteAll"] is True
                del self.stored[body[0]["namespace"]]
                return 200, {}
            case ("POST", "query"):
                return 200, self._pinecone_query(body[0])
            case ("GET" | "POST", "vectors", "fetch"):
                return 200, self._pinecone_fetch(body[0])
            case ("POST", "describe_index_stats"):
                counts = {name: {"vectorCount": len(rows)} for name, rows in self.stored.items()}
                return 200, {"namespaces": counts, "dimension": 8}
            case ("HEAD", name):
                return (200 if name in self.stored else 404), None
            case ("PUT", name):
                self.stored[name] = {}
                return 200, {"acknowledged": True}
            case ("DELETE", name):
                del self.stored[name]
                return 200, {"acknowledged": True}
            case (_, name, "_bulk"):
                for action, document in zip(body[::2], body[1::2], strict=True):
                    self.stored[name][action["index"]["_id"]] = document
                return 200, {"errors": False, "items": []}
            case (_, name, "_count"):
                rows = self.stored[name].items()
                query = body[0]["query"] if body else None
                return 200, {"count": sum(query is None or _holds(query, *row) for row in rows)}
            case (_, name, "_search"):
                return 200, {"hits": {"hits": self._search(name, body[0])}}
        return 404, {"error": f"{method} {path}"}

    def _search(self, name: str, body: Json) -> list[Json]:
        scored = [
            (_score(body["query"], key, row), key, row)
            for key, row in self.stored[name].items()
            if _holds(body["query"], key, row)
        ]
        scored.sort(key=lambda one: (-one[0], one[1]))
        wanted = body["_source"] or ()
        return [
            {"_id": key, "_score": score, "_source": {f: row[f] for f in wanted if f in row}}
            for score, key, row in scored[: body["size"]]
        ]

    def _pinecone_upsert(self, body: Json) -> Json:
        space = self.stored.setdefault(body.get("namespace", ""), {})
        for row in body["vectors"]:
            assert any(row["values"]), "Pinecone refuses vectors of zeros"
            space[row["id"]] = row
        return {"upsertedCount": len(body["vectors"])}

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


def _holds(query: Json, key: str, row: Json) -> bool:
    """Whether a document is a hit of a query of the query DSL."""
    ((kind, about),) = query.items()
    match kind:
        case "term":
            return all(row.get(field) == value for field, value in about.items())
        case "terms":
            return all(row.get(field) in values for field, values in about.items())
        case "range":
            ((field, limits),) = about.items()
            return all(_OPERATORS[f"${name}"](row[field], limit) for name, limit in limits.items())
        case "ids":
            return key in about["values"]
        case "exists":
            return about["field"] in row
        case "rank_feature":
            field, _, feature = about["field"].partition(".")
            return feature in row[field]
        case "script_score":
            return _holds(about["query"], key, row)
        case "bool":
            should = about.get("should", ())
            return all(_holds(one, key, row) for one in about["filter"]) and (
                not should or any(_holds(one, key, row) for one in should)
            )
    raise AssertionError(kind)


def _score(query: Json, key: str, row: Json) -> float:
    ((kind, about),) = query.items()
    match kind:
        case "bool":
            hits = (one for one in about.get("should", ()) if _holds(one, key, row))
            return sum(_score(one, key, row) for one in hits)
        case "rank_feature":
            assert about["linear"] == {}
            field, _, feature = about["field"].partition(".")
            return float(about["boost"] * row[field][feature])
        case "script_score":
            script = about["script"]
            if script.get("lang") == "knn":
                assert script["source"] == "knn_score"
                assert script["params"]["space_type"] == "innerproduct"
                asked = script["params"]["query_value"]
            else:
                assert re.fullmatch(
                    r"Math\.max\(dotProduct\(params\.query, 'dense'\) \+ 1\.0, 0\)",
                    script["source"],
                )
                asked = script["params"]["query"]
            return float(1 + sum(a * b for a, b in zip(asked, row["dense"], strict=True)))
    return 0.0


@contextmanager
def serving() -> Iterator[tuple[str, Engines]]:
    """(URL, what it holds) of a server on a free port."""
    engines = Engines()

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
            status, answer = engines.answer(self.command, where.path, body)
            data = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            # Without it Elasticsearch's client takes the server for something else.
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
