"""OpenSearch's and Elasticsearch's API as documented, as far as the adapter needs it.

Strict: a field, an option, a clause or a script that the one product does not have, or that the
index was not made for, is refused with 400, also where the other product would take it. So is the
other's media type, with 406.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

Json = Any
Product = Literal["opensearch", "elasticsearch"]

MOST_HITS = 10_000
"""`index.max_result_window`, by default."""

MOST_CLAUSES = 1_024
"""`indices.query.bool.max_clause_count` of OpenSearch, and the least of Elasticsearch."""

LEAST_FEATURE = 1.17549435e-38
"""A feature is a positive normal 32-bit float."""

MEDIA = "application/vnd.elasticsearch+"
"""What Elasticsearch's client says that it sends; OpenSearch does not know it."""


class Refused(Exception):
    """What the product would say no to: `status` and a reason."""

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.status = status


def need(holds: object, reason: str, status: int = 400) -> None:
    """Refuse what does not hold."""
    if not holds:
        raise Refused(reason, status)


@dataclass(frozen=True, slots=True)
class Dialect:
    """Where the two differ. `vectors_in_source`: whether `_source` has vectors when it is read."""

    vector: Mapping[str, Callable[[Json], bool]]
    script: Callable[[Json, str], Sequence[float]]
    vectors_in_source: bool


def _knn_score(script: Json, field: str) -> Sequence[float]:
    """OpenSearch's exact search: the script of its k-NN plugin."""
    need(set(script) == {"lang", "source", "params"}, "parameters of a script")
    need((script["lang"], script["source"]) == ("knn", "knn_score"), "no such script")
    params = script["params"]
    need(set(params) == {"field", "query_value", "space_type"}, "parameters of knn_score")
    need(params["field"] == field and params["space_type"] == "innerproduct", "field or space")
    vector: Sequence[float] = params["query_value"]
    return vector


def _painless(script: Json, field: str) -> Sequence[float]:
    """Elasticsearch's: a function of Painless, which never gives a negative score."""
    need(set(script) == {"source", "params"} and set(script["params"]) == {"query"}, "script")
    wanted = rf"Math\.max\(dotProduct\(params\.query, '{field}'\) \+ 1\.0, 0\)"
    need(re.fullmatch(wanted, script["source"]), "compile error")
    vector: Sequence[float] = script["params"]["query"]
    return vector


DIALECTS: Mapping[Product, Dialect] = {
    "opensearch": Dialect(
        {"type": lambda v: v == "knn_vector", "dimension": lambda v: 0 < v <= 16_000},
        _knn_score,
        vectors_in_source=True,
    ),
    # Since 9.2 `_source` is without vectors: `fields` has them.
    "elasticsearch": Dialect(
        {
            "type": lambda v: v == "dense_vector",
            "dims": lambda v: 0 < v <= 4_096,
            "index": lambda v: v is False,
        },
        _painless,
        vectors_in_source=False,
    ),
}

OTHER_FIELDS: tuple[Json, ...] = (
    {"type": "keyword"},
    {"type": "keyword", "index": False, "doc_values": False},
    {"type": "long"},
    {"type": "rank_features"},
)


class Stored:
    """One index: its mapping, and its documents by id."""

    def __init__(self, made: Json, dialect: Dialect) -> None:
        need(set(made) == {"mappings"}, "unknown key for create index")
        need(set(made["mappings"]) == {"dynamic", "properties"}, "mapping")
        need(made["mappings"]["dynamic"] is False, "this stand-in maps nothing by itself")
        self._dialect = dialect
        self.fields: dict[str, Json] = made["mappings"]["properties"]
        self._vector = ""
        for name, field in self.fields.items():
            if field in OTHER_FIELDS:
                continue
            need(set(field) == set(dialect.vector), f"mapper_parsing_exception: {field}")
            need(all(fits(field[k]) for k, fits in dialect.vector.items()), f"mapper: {field}")
            self._vector = name
        self.rows: dict[str, Json] = {}

    @property
    def dimensions(self) -> int:
        """Of its vectors."""
        field = self.fields[self._vector]
        return int(field["dimension"] if "dimension" in field else field["dims"])

    def put(self, name: str, row: Json) -> None:
        """Store one document; one that is there is overwritten."""
        need(0 < len(name.encode()) <= 512, "id is too long")
        for field, value in row.items():
            kind = self._field(field)["type"]
            if kind == "keyword":
                need(isinstance(value, str), f"failed to parse field [{field}]")
            elif kind == "long":
                need(type(value) is int and abs(value) < 2**63, f"failed to parse field [{field}]")
            elif kind == "rank_features":
                need(all("." not in key and key for key in value), "dots in a feature's name")
                need(
                    all(v >= LEAST_FEATURE and math.isfinite(v) for v in value.values()), "feature"
                )
            else:
                need(len(value) == self.dimensions, "the vector has other dimensions")
        self.rows[name] = row

    def _field(self, name: str, *kinds: str) -> Json:
        need(name in self.fields, f"no mapping for [{name}]")
        field = self.fields[name]
        need(not kinds or field["type"] in kinds, f"[{name}] is {field['type']}, not {kinds}")
        need(not kinds or field.get("index", True), f"[{name}] is not indexed")
        return field

    def holds(self, query: Json, name: str, row: Json) -> bool:
        """Whether a document is a hit of a query of the query DSL."""
        ((kind, about),) = query.items()
        match kind:
            case "term":
                ((field, value),) = about.items()
                self._field(field, "keyword")
                return bool(row.get(field) == value)
            case "terms":
                ((field, values),) = about.items()
                self._field(field, "keyword")
                need(isinstance(values, list) and len(values) <= 65_536, "terms")
                return row.get(field) in values
            case "range":
                ((field, limits),) = about.items()
                self._field(field, "long")
                need(limits and set(limits) <= set(_LIMITS), f"range: {set(limits)}")
                return all(_LIMITS[limit](row[field], value) for limit, value in limits.items())
            case "ids":
                need(set(about) == {"values"}, "ids")
                return name in about["values"]
            case "exists":
                need(set(about) == {"field"} and about["field"] in self.fields, "exists")
                return about["field"] in row
            case "rank_feature":
                need(set(about) == {"field", "linear", "boost"}, "rank_feature")
                need(about["linear"] == {} and about["boost"] > 0, "rank_feature")
                field, _, feature = about["field"].partition(".")
                self._field(field, "rank_features")
                return feature in row[field]
            case "script_score":
                need(set(about) == {"query", "script"}, "script_score")
                return self.holds(about["query"], name, row)
            case "bool":
                need(set(about) <= {"filter", "should", "minimum_should_match"}, "bool")
                should = about.get("should", [])
                need(len(should) <= MOST_CLAUSES, "too many clauses")
                need("minimum_should_match" not in about or about["minimum_should_match"] == 1, "1")
                # Every clause is read, whatever the document.
                filtered = [self.holds(one, name, row) for one in about["filter"]]
                wanted = [self.holds(one, name, row) for one in should]
                return all(filtered) and (any(wanted) or "minimum_should_match" not in about)
        raise Refused(f"unknown query [{kind}]", 400)

    def score(self, query: Json, name: str, row: Json) -> float:
        """The score of a hit."""
        ((kind, about),) = query.items()
        if kind == "bool":
            hits = (one for one in about.get("should", ()) if self.holds(one, name, row))
            return sum(self.score(one, name, row) for one in hits)
        if kind == "rank_feature":
            field, _, feature = about["field"].partition(".")
            return float(about["boost"] * row[field][feature])
        if kind == "script_score":
            asked = self._dialect.script(about["script"], self._vector)
            need(len(asked) == self.dimensions, "the query vector has other dimensions")
            need(self._vector in row, "a document without a value for the vector field")
            score = 1 + sum(a * b for a, b in zip(asked, row[self._vector], strict=True))
            need(score >= 0, "script_score returned a negative score")
            return float(score)
        return 0.0

    def search(self, body: Json) -> list[Json]:
        """The hits of a search."""
        need(set(body) <= {"size", "query", "_source", "fields"}, f"unknown keys in {set(body)}")
        need(type(body["size"]) is int and 0 < body["size"] <= MOST_HITS, "result window")
        query, rows = body["query"], self.rows.items()
        scored = [(self.score(query, *one), *one) for one in rows if self.holds(query, *one)]
        scored.sort(key=lambda one: (-one[0], one[1]))
        wanted = body["_source"] or []
        need(body["_source"] is False or isinstance(wanted, list), "_source")
        hits = []
        for score, name, row in scored[: body["size"]]:
            hit: dict[str, Json] = {"_id": name, "_score": score}
            if body["_source"] is not False:
                hit["_source"] = {f: row[f] for f in wanted if f in row and self._in_source(f)}
            fields = {self._field(f) and f: row[f] for f in body.get("fields", ()) if f in row}
            hits.append({**hit, "fields": fields} if fields else hit)
        return hits

    def _in_source(self, field: str) -> bool:
        return field != self._vector or self._dialect.vectors_in_source


_LIMITS: Mapping[str, Callable[[int, int], bool]] = {
    "lte": lambda own, limit: own <= limit,
    "lt": lambda own, limit: own < limit,
    "gte": lambda own, limit: own >= limit,
    "gt": lambda own, limit: own > limit,
}


class Lucene:
    """The server of one product: its indexes by name."""

    def __init__(self, product: Product) -> None:
        self._product = product
        self._dialect = DIALECTS[product]
        self.indexes: dict[str, Stored] = {}

    def answer(
        self, method: str, parts: Sequence[str], body: Sequence[Json], media: str
    ) -> tuple[int, Json]:
        """(status, JSON) of one request; `body` are its lines, `media` says what they are."""
        its_own = media.startswith(MEDIA) == (self._product == "elasticsearch")
        try:
            need(its_own or not body, f"Content-Type header [{media}] is not supported", 406)
            return self._answer(method, parts, body)
        except Refused as error:
            return error.status, {"error": {"type": "refused", "reason": str(error)}}

    def _answer(self, method: str, parts: Sequence[str], body: Sequence[Json]) -> tuple[int, Json]:
        match (method, *parts):
            case ("HEAD", name):
                return (200 if name in self.indexes else 404), None
            case ("PUT", name):
                need(name not in self.indexes, "resource_already_exists_exception")
                need(
                    re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,254}", name), "invalid_index_name_exception"
                )
                self.indexes[name] = Stored(body[0], self._dialect)
                return 200, {"acknowledged": True}
            case ("DELETE", name):
                need("*" not in name, "destructive operations need a name")
                self.indexes.pop(name, None)
                return 200, {"acknowledged": True}
            case ("GET", pattern, "_alias"):
                names = [one for one in self.indexes if fnmatchcase(one, pattern)]
                return 200, {name: {"aliases": {}} for name in names}
        name, operation = parts
        need(name in self.indexes, f"no such index [{name}]", 404)
        return 200, self._of(self.indexes[name], operation, body)

    def _of(self, stored: Stored, operation: str, body: Sequence[Json]) -> Json:
        if operation == "_bulk":
            items: list[Json] = []
            errors = False
            lines = iter(body)
            for action in lines:
                ((kind, about),) = action.items()
                need(kind in ("index", "delete") and set(about) == {"_id"}, "action")
                if kind == "delete":
                    there = stored.rows.pop(about["_id"], None)
                    items.append({"delete": {"status": 200 if there else 404}})
                    continue
                row = next(lines)
                try:
                    stored.put(about["_id"], row)
                    items.append({"index": {"status": 200}})
                except Refused as error:
                    errors = True
                    items.append({"index": {"status": 400, "reason": str(error)}})
            return {"errors": errors, "items": items}
        need(operation == "_search", f"unknown operation {operation}")
        return {"hits": {"hits": stored.search(body[0])}}
