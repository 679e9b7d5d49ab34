"""The event table as an AsyncAPI 3.0 document, for tools that draw, mock and generate from it."""

from typing import Any

from interlock_contracts.base import MAX_EVENT_BYTES, MAX_REQUEST_BYTES
from interlock_contracts.subjects import LIVE_CELL, TOKEN
from interlock_contracts.table import (
    EVENTS,
    FACT_SUBJECT,
    Actor,
    EventSpec,
    published_by,
    received_by,
)

_SCHEMA_FORMAT = "application/schema+json;version=draft-2020-12"

_PARAMETERS = {
    "cell": f"The cell: `{LIVE_CELL}` for live traffic; a replay has its own.",
    "tenant": "The tenant the request belongs to.",
    "request_id": "The ULID of the request; of a document its key.",
    "step": "What of it this is about: a number, an action, an effect key, a version.",
    "tool": "The name of the tool.",
    "approver": "Who decided.",
    "stage": "The stage the dead letter comes from.",
}


def asyncapi() -> dict[str, Any]:
    """The document; payloads refer to the JSON Schemas in the files beside it."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Interlock",
            "version": str(max(spec.version for spec in EVENTS)),
            "description": (
                "CloudEvents 1.0 in binary mode over NATS JetStream. Every subject of the log is "
                f"written once; every token of it matches `{TOKEN.pattern}`."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {spec.name: _channel(spec) for spec in EVENTS} | _fact_channels(),
        "operations": _operations() | _fact_operations(),
        "components": {
            "messages": {spec.name: _message(spec) for spec in EVENTS} | _fact_messages(),
            "parameters": {name: {"description": text} for name, text in _PARAMETERS.items()},
            "schemas": {spec.name: _headers(spec) for spec in EVENTS},
        },
    }


def _channel(spec: EventSpec) -> dict[str, Any]:
    parameters = ["cell", "tenant", "request_id", "step", *([spec.tail] if spec.tail else [])]
    return {
        "address": f"{{cell}}.{spec.name}." + ".".join(f"{{{name}}}" for name in parameters[1:]),
        "title": spec.name,
        "summary": spec.summary,
        "messages": {spec.name: _ref("messages", spec.name)},
        "parameters": {name: _ref("parameters", name) for name in parameters},
    }


def _message(spec: EventSpec) -> dict[str, Any]:
    limit = MAX_REQUEST_BYTES if spec.name == "request" else MAX_EVENT_BYTES
    return {
        "name": spec.type,
        "title": spec.name,
        "summary": spec.summary,
        "description": f"Owned by {spec.owner}. At most {limit:,} bytes.",
        "contentType": "application/json",
        "headers": _ref("schemas", spec.name),
        "payload": _payload(spec.name),
    }


def _headers(spec: EventSpec) -> dict[str, Any]:
    """The CloudEvents attributes; a producer's request needs none of them."""
    text = {"type": "string"}
    properties = {
        "ce-specversion": {"const": "1.0"},
        "ce-id": text,
        "ce-type": {"const": spec.type},
        "ce-source": {**text, "format": "uri-reference"},
        "ce-time": {**text, "format": "date-time"},
        "ce-cause": {**text, "description": "The id of the event this one follows from."},
        "ce-bundle": {**text, "description": "The digest of the bundle it was decided by."},
        "content-type": {"const": "application/json"},
        "traceparent": {**text, "description": "W3C Trace Context."},
    }
    needed = ["ce-specversion", "ce-id", "ce-type", "ce-source", "ce-time"]
    return {
        "type": "object",
        "properties": properties,
        "required": [] if spec.owner in (Actor.PRODUCER, Actor.INGEST) else needed,
    }


def _operations() -> dict[str, Any]:
    """What each actor does, from its own side: `send` what it publishes, `receive` the rest."""
    return {
        f"{actor}-{verb}-{spec.name}": {
            "action": verb,
            "channel": {"$ref": f"#/channels/{spec.name}"},
            "summary": f"{actor} {verb}s {spec.name}",
            "tags": [{"name": actor}],
            "messages": [{"$ref": f"#/channels/{spec.name}/messages/{spec.name}"}],
        }
        for actor in Actor
        for verb, specs in (("send", published_by(actor)), ("receive", received_by(actor)))
        for spec in specs
    }


def _fact_channels() -> dict[str, Any]:
    return {
        "fact": {
            "address": f"{{cell}}.{FACT_SUBJECT}.{{tenant}}.{{tool}}",
            "title": "fact",
            "summary": "The gate asks a read-only tool; request-reply, not on the log.",
            "messages": {"fact-request": _ref("messages", "fact-request")},
            "parameters": {name: _ref("parameters", name) for name in ("cell", "tenant", "tool")},
        },
        "fact-reply": {
            "address": None,
            "title": "fact-reply",
            "summary": "The inbox the asker named in the NATS reply subject.",
            "messages": {"fact-reply": _ref("messages", "fact-reply")},
        },
    }


def _fact_messages() -> dict[str, Any]:
    return {
        name: {
            "name": name,
            "contentType": "application/json",
            "payload": _payload(name),
        }
        for name in ("fact-request", "fact-reply")
    }


def _fact_operations() -> dict[str, Any]:
    return {
        f"{actor}-{verb}-fact": {
            "action": verb,
            "channel": {"$ref": "#/channels/fact"},
            "summary": f"{actor} {verb}s fact-request",
            "tags": [{"name": actor}],
            "messages": [{"$ref": "#/channels/fact/messages/fact-request"}],
            "reply": {
                "channel": {"$ref": "#/channels/fact-reply"},
                "messages": [{"$ref": "#/channels/fact-reply/messages/fact-reply"}],
            },
        }
        for actor, verb in ((Actor.CONTRACT_VALIDATOR, "send"), (Actor.TOOL_EXECUTOR, "receive"))
    }


def _payload(name: str) -> dict[str, Any]:
    return {"schemaFormat": _SCHEMA_FORMAT, "schema": {"$ref": f"./{name}.json"}}


def _ref(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}
