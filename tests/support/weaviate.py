"""Weaviate's REST and GraphQL API as documented, as far as the adapter needs it.

Strict: a field, an argument, an operator or a type that the documentation does not have, or that
the collection was not made for, is refused as Weaviate refuses it: by REST with 422, by GraphQL
with `errors` and status 200.
"""

import math
import re
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = Any

MOST = 10_000
"""QUERY_MAXIMUM_RESULTS, by default."""

K1, B = 1.2, 0.75

_CLASS = {
    "class", "description", "vectorizer", "vectorIndexType", "vectorIndexConfig",
    "invertedIndexConfig", "properties",
}  # fmt: skip
_PROPERTY = {"name", "dataType", "tokenization", "indexFilterable", "indexSearchable"}
_FLAT = {"distance", "skipDefaultQuantization"}
_OBJECT = {"class", "id", "properties", "vector"}


class Refused(Exception):
    """What Weaviate would say no to."""


def need(holds: object, message: str) -> None:
    """Refuse what does not hold."""
    if not holds:
        raise Refused(message)


class Name(str):
    """A name or an enum's value in a query, told apart from a string."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a selection."""

    name: str
    arguments: Mapping[str, Json]
    fields: tuple["Field", ...]


_TOKEN = re.compile(
    r'[\s,]*([{}()\[\]:]|"(?:[^"\\\n]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|[_A-Za-z]\w*)'
)


class Reader:
    """A query of GraphQL, without variables, aliases, fragments and directives."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = []
        at, text = 0, text.rstrip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise Refused(f"Syntax Error GraphQL request: {text[at : at + 20]!r}")
            self._tokens.append(found[1])
            at = found.end()

    def query(self) -> tuple[Field, ...]:
        """All of it."""
        fields = self._selection()
        need(not self._tokens, "Syntax Error: something after the query")
        return fields

    def _next(self, *wanted: str) -> str:
        need(self._tokens, "Syntax Error: the query ends too early")
        token = self._tokens.pop(0)
        need(not wanted or token in wanted, f"Syntax Error: {token!r}, not one of {wanted}")
        return token

    def _ahead(self, token: str) -> bool:
        return bool(self._tokens) and self._tokens[0] == token

    def _selection(self) -> tuple[Field, ...]:
        self._next("{")
        fields = []
        while not self._ahead("}"):
            name = self._name()
            arguments = self._pairs("(", ")") if self._ahead("(") else {}
            fields.append(Field(name, arguments, self._selection() if self._ahead("{") else ()))
        self._next("}")
        need(fields, "Syntax Error: an empty selection")
        return tuple(fields)

    def _name(self) -> str:
        token = self._next()
        need(re.fullmatch(r"[_A-Za-z]\w*", token), f"Syntax Error: expected a name, not {token!r}")
        return token

    def _pairs(self, opens: str, closes: str) -> dict[str, Json]:
        self._next(opens)
        pairs = {}
        while not self._ahead(closes):
            name = self._name()
            self._next(":")
            pairs[name] = self._value()
        self._next(closes)
        return pairs

    def _value(self) -> Json:
        if self._ahead("{"):
            return self._pairs("{", "}")
        if self._ahead("["):
            self._next("[")
            values = []
            while not self._ahead("]"):
                values.append(self._value())
            self._next("]")
            return values
        token = self._next()
        if token[0] == '"':
            return _unquoted(token)
        if re.fullmatch(r"-?\d+", token):
            return int(token)
        return Name(token) if re.match(r"[_A-Za-z]", token) else float(token)


def _unquoted(token: str) -> str:
    """A string literal; GraphQL has the escapes of JSON."""
    plain = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}

    def escape(found: re.Match[str]) -> str:
        one = found[1]
        return chr(int(one[1:], 16)) if one[0] == "u" else plain.get(one, one)

    return re.sub(r'\\(u[0-9a-fA-F]{4}|["\\/bfnrt])', escape, token[1:-1])


class Collection:
    """One class of the schema, and its objects."""

    def __init__(self, made: Json) -> None:
        need(set(made) <= _CLASS, f"unknown fields of a class: {set(made) - _CLASS}")
        need(re.fullmatch(r"[A-Z][_0-9A-Za-z]{0,254}", made["class"]), "not a valid class name")
        need(made["vectorizer"] == "none", "no module with this name")
        need(made["vectorIndexType"] == "flat", "this stand-in has flat indexes alone")
        need(set(made["vectorIndexConfig"]) <= _FLAT, "unknown setting of a flat index")
        need(made["vectorIndexConfig"]["distance"] == "dot", "this stand-in multiplies")
        need(made["invertedIndexConfig"] == {"stopwords": {"preset": "none"}}, "stopwords")
        self.properties: dict[str, Json] = {}
        for one in made["properties"]:
            need(set(one) <= _PROPERTY, f"unknown fields of a property: {set(one) - _PROPERTY}")
            need(re.fullmatch(r"[_A-Za-z][_0-9A-Za-z]{0,230}", one["name"]), "property name")
            need(one["name"] not in ("id", "_id", "_additional"), "a reserved property name")
            need(one["dataType"] in (["text"], ["number"]), f"data type {one['dataType']}")
            text = one["dataType"] == ["text"]
            need(text or not one.get("indexSearchable"), "`indexSearchable` is for text")
            need(text or "tokenization" not in one, "tokenization is for text")
            need(one.get("tokenization", "word") in ("word", "whitespace", "field"), "tokenization")
            self.properties[one["name"]] = one
        self.rows: dict[str, Json] = {}

    def put(self, given: Json) -> None:
        """Store one object; one that is there is overwritten."""
        need(set(given) <= _OBJECT, f"unknown fields of an object: {set(given) - _OBJECT}")
        uuid.UUID(given["id"])
        for name, value in given["properties"].items():
            kind = str if self._property(name)["dataType"] == ["text"] else int | float
            need(isinstance(value, kind), f"invalid value for property {name!r}")
        sizes = {len(row["vector"]) for row in self.rows.values() if "vector" in row}
        need("vector" not in given or not sizes - {len(given["vector"])}, "vector lengths differ")
        self.rows[given["id"]] = given

    def delete(self, where: Json) -> Json:
        """Delete what a filter in REST's form lets through."""
        need(set(where) == {"path", "operator", "valueTextArray"}, "a filter on texts")
        need(where["operator"] == "ContainsAny" and where["valueTextArray"], "operator")
        (field,) = where["path"]
        need(self._property(field)["tokenization"] == "field", "this stand-in compares whole texts")
        met = [key for key, row in self.rows.items()
               if row["properties"][field] in where["valueTextArray"]]  # fmt: skip
        for key in met:
            del self.rows[key]
        return {"matches": len(met), "limit": MOST, "successful": len(met), "failed": 0}

    def _property(self, name: str) -> Json:
        need(name in self.properties, f"no such prop with name {name!r}")
        return self.properties[name]

    def holds(self, where: Json, row: Json) -> bool:
        """Whether a `where` filter lets an object through."""
        operator = where["operator"]
        need(isinstance(operator, Name), "an operator is an enum's value")
        if operator in ("And", "Or"):
            need(set(where) == {"operator", "operands"} and where["operands"], "operands")
            each = [self.holds(one, row) for one in where["operands"]]
            return all(each) if operator == "And" else any(each)
        need(operator in _OPERATORS, f"invalid operator {operator}")
        (kind,) = set(where) - {"operator", "path"}
        ((field,), value) = where["path"], where[kind]
        about = self._property(field)
        need(about.get("indexFilterable", True), f"{field} has no index to filter by")
        text = about["dataType"] == ["text"]
        need(kind == ("valueText" if text else "valueNumber"), f"{kind} for {about['dataType']}")
        need(not text or about["tokenization"] == "field", "this stand-in compares whole texts")
        many = operator == "ContainsAny"
        need(isinstance(value, list) == many and (value or not many), f"value of {operator}")
        each = value if many else [value]
        need(all(type(one) is str if text else type(one) in (int, float) for one in each), kind)
        return _OPERATORS[operator](row["properties"][field], value)

    def scores(self, about: Json) -> Callable[[Json], float]:
        """BM25 over all objects of the collection, whoever may read them."""
        need(set(about) == {"query", "properties"}, f"arguments of bm25: {set(about)}")
        (field,) = about["properties"]
        need(self._property(field).get("indexSearchable", True), f"{field} is not searchable")
        need(self._property(field)["tokenization"] == "whitespace", "tokenization")
        texts = {key: row["properties"][field].split() for key, row in self.rows.items()}
        average = sum(map(len, texts.values())) / (len(texts) or 1) or 1
        frequency = Counter(term for own in texts.values() for term in set(own))

        def score(row: Json) -> float:
            own = Counter(texts[row["id"]])
            norm = K1 * (1 - B + B * own.total() / average)
            return sum(
                math.log(1 + (len(texts) - frequency[term] + 0.5) / (frequency[term] + 0.5))
                * (own[term] * (K1 + 1) / (own[term] + norm))
                for term in about["query"].split()
            )

        return score

    def get(self, arguments: Mapping[str, Json], fields: Sequence[Field]) -> list[Json]:
        """The answer to `Get`."""
        known = {"where", "limit", "nearVector", "bm25"}
        need(set(arguments) <= known, f"Unknown argument: {set(arguments) - known}")
        need(not {"nearVector", "bm25"} <= set(arguments), "one search operator at a time")
        limit = arguments["limit"]
        need(type(limit) is int and 0 < limit <= MOST, f"query maximum results exceeded: {limit}")
        found = self.filtered(arguments)
        if "bm25" in arguments:
            score = self.scores(arguments["bm25"])
            found = sorted((row for row in found if score(row) > 0), key=score, reverse=True)
        distances: dict[str, float] = {}
        if "nearVector" in arguments:
            need(set(arguments["nearVector"]) == {"vector"}, "arguments of nearVector")
            near = arguments["nearVector"]["vector"]
            found = [row for row in found if "vector" in row]
            need(all(len(row["vector"]) == len(near) for row in found), "vector lengths differ")
            for row in found:
                distances[row["id"]] = -sum(map(float.__mul__, map(float, near), row["vector"]))
            found.sort(key=lambda row: distances[row["id"]])
        return [self._shown(row, fields, distances) for row in found[:limit]]

    def _shown(self, row: Json, fields: Sequence[Field], distances: Mapping[str, float]) -> Json:
        extra = {"id": row["id"], "vector": row.get("vector", [])}
        extra["distance"] = distances.get(row["id"])
        shown: dict[str, Json] = {}
        for field in fields:
            if field.name == "_additional":
                need({one.name for one in field.fields} <= set(extra), "Cannot query field")
                shown[field.name] = {one.name: extra[one.name] for one in field.fields}
            else:
                self._property(field.name)
                shown[field.name] = row["properties"].get(field.name)
        return shown

    def filtered(self, arguments: Mapping[str, Json]) -> list[Json]:
        """The objects that the `where` among the arguments lets through."""
        where = arguments.get("where")
        return [row for row in self.rows.values() if where is None or self.holds(where, row)]


_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "Equal": lambda own, value: bool(own.strip() == value.strip()),
    "ContainsAny": lambda own, value: own.strip() in [one.strip() for one in value],
    "LessThanEqual": lambda own, value: bool(own <= value),
    "GreaterThan": lambda own, value: bool(own > value),
}


class Weaviate:
    """The server: its collections by name. With a `status` it answers nothing else."""

    def __init__(self) -> None:
        self.collections: dict[str, Collection] = {}
        self.status: int | None = None
        self._one = threading.Lock()

    def answer(self, method: str, parts: Sequence[str], body: Json) -> tuple[int, Json]:
        """(status, JSON) of one request; `parts` are those of the path after `v1`."""
        if self.status is not None:
            return self.status, {"error": [{"message": "as told"}]}
        try:
            with self._one:
                return self._answer(method, parts, body)
        except Refused as error:
            return 422, {"error": [{"message": str(error)}]}

    def _answer(self, method: str, parts: Sequence[str], body: Json) -> tuple[int, Json]:
        match (method, *parts):
            case ("GET", "schema", name):
                return (200, {"class": name}) if name in self.collections else (404, None)
            case ("GET", "schema"):
                return 200, {"classes": [{"class": name} for name in self.collections]}
            case ("POST", "schema"):
                need(body["class"] not in self.collections, "class already exists")
                self.collections[body["class"]] = Collection(body)
                return 200, body
            case ("DELETE", "schema", name):
                self.collections.pop(name, None)
                return 200, None
            case ("POST", "batch", "objects"):
                need(set(body) <= {"objects", "fields"}, "unknown fields of a batch")
                return 200, [self._stored(one) for one in body["objects"]]
            case ("DELETE", "batch", "objects"):
                need(set(body) == {"match", "output"}, "unknown fields of a deletion")
                collection = self.collections[body["match"]["class"]]
                return 200, {"results": collection.delete(body["match"]["where"])}
            case ("POST", "graphql"):
                need(set(body) <= {"query", "variables", "operationName"}, "unknown fields")
                try:
                    return 200, {"data": self._data(body["query"])}
                except Refused as error:
                    return 200, {"data": None, "errors": [{"message": str(error), "path": None}]}
        return 404, None

    def _stored(self, one: Json) -> Json:
        try:
            need(one["class"] in self.collections, "class not found in schema")
            self.collections[one["class"]].put(one)
        except Refused as error:
            said = {"error": [{"message": str(error)}]}
            return {"id": one["id"], "result": {"status": "FAILED", "errors": said}}
        return {"id": one["id"], "class": one["class"], "result": {"status": "SUCCESS"}}

    def _data(self, query: str) -> Json:
        data: dict[str, Json] = {}
        for kind in Reader(query).query():
            need(kind.name == "Get", f'Cannot query field "{kind.name}"')
            for one in kind.fields:
                need(one.name in self.collections, f'Cannot query field "{one.name}"')
                collection = self.collections[one.name]
                answer = collection.get(one.arguments, one.fields)
                data.setdefault(kind.name, {})[one.name] = answer
        return data
