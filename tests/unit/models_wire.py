"""A local server that answers in the documented wire formats of the model providers.

Formats: OpenAI "Create chat completion", Anthropic "Messages", Gemini
"models.generateContent", Amazon Bedrock "Converse", each as in its public API reference.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass
class Reply:
    """What the server answers; `hang` keeps it silent, `drip` sends the body byte by byte."""

    body: Json | bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    drip: bool = False


@dataclass
class Server:
    """Answers every request with `reply`, or what `answers` makes of it, and keeps what it was
    sent."""

    reply: Reply
    answers: Callable[[Json], Reply] | None = None
    port: int = 0
    seen: list[tuple[str, dict[str, str], Json]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().strip().split("\r\n")
                headers = {k.lower(): v.strip() for k, _, v in (x.partition(":") for x in lines)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                form = headers.get("content-type", "").startswith("application/x-www-form")
                sent = {"form": body.decode()} if form else json.loads(body or b"{}")
                self.seen.append((first.split()[1], headers, sent))
                if self.answers is not None:
                    self.reply = self.answers(sent)
                if self.reply.hang:
                    await reader.read()
                    return
                await self._answer(writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            # The client left, or the test is over.
            return
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        reply = self.reply
        raw = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        fields = {"content-type": "application/json", "content-length": len(raw)} | reply.headers
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(f"HTTP/1.1 {reply.status} X\r\n{head}\r\n".encode())
        if not reply.drip:
            writer.write(raw)
            await writer.drain()
            return
        for byte in raw:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.05)


@asynccontextmanager
async def serving(reply: Reply) -> AsyncIterator[Server]:
    """The server on a free port of this machine."""
    server = Server(reply)
    handlers: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        await server.serve(reader, writer)

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in handlers:
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


Calls = tuple[tuple[str, Json], ...]
STOPS: dict[str, dict[str, str]] = {
    "openai": {"end": "stop", "length": "length", "calls": "tool_calls", "refusal": "stop"},
    "anthropic": {
        "end": "end_turn", "length": "max_tokens", "calls": "tool_use", "refusal": "refusal",
    },
    "google": {"end": "STOP", "length": "MAX_TOKENS", "calls": "STOP", "refusal": "SAFETY"},
    "bedrock": {
        "end": "end_turn", "length": "max_tokens", "calls": "tool_use",
        "refusal": "guardrail_intervened",
    },
}  # fmt: skip


def answer(provider: str, text: str = "", calls: Calls = (), stop: str = "end") -> Json:
    """A whole answer of `provider`; `stop` is one of end, length, calls and refusal."""
    return _FORMS[provider](text, calls, STOPS[provider][stop], stop == "refusal")


def _openai(text: str, calls: Calls, stop: str, refused: bool) -> Json:
    message: Json = {"role": "assistant", "content": None if refused else text or None}
    if refused:
        message["refusal"] = "I cannot help with that."
    if calls:
        message["tool_calls"] = [
            {
                "id": f"call_{i}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(arguments)},
            }
            for i, (name, arguments) in enumerate(calls)
        ]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_760_000_000,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": stop, "logprobs": None}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
    }


def _anthropic(text: str, calls: Calls, stop: str, _: bool) -> Json:
    content: list[Json] = [{"type": "text", "text": text}] if text else []
    content += [
        {"type": "tool_use", "id": f"toolu_{i}", "name": name, "input": arguments}
        for i, (name, arguments) in enumerate(calls)
    ]
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": 11, "output_tokens": 7},
    }


def _google(text: str, calls: Calls, stop: str, refused: bool) -> Json:
    parts: list[Json] = [{"text": text}] if text else []
    parts += [{"functionCall": {"name": name, "args": arguments}} for name, arguments in calls]
    candidate: Json = {"index": 0, "finishReason": stop}
    if not refused:
        candidate["content"] = {"role": "model", "parts": parts}
    return {
        "candidates": [candidate],
        "usageMetadata": {
            "promptTokenCount": 11, "candidatesTokenCount": 7, "totalTokenCount": 18,
        },
        "modelVersion": "m",
        "responseId": "r1",
    }  # fmt: skip


def _bedrock(text: str, calls: Calls, stop: str, _: bool) -> Json:
    content: list[Json] = [{"text": text}] if text else []
    content += [
        {"toolUse": {"toolUseId": f"tool_{i}", "name": name, "input": arguments}}
        for i, (name, arguments) in enumerate(calls)
    ]
    return {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": stop,
        "usage": {"inputTokens": 11, "outputTokens": 7, "totalTokens": 18},
        "metrics": {"latencyMs": 5},
    }


_FORMS = {
    "openai": _openai,
    "anthropic": _anthropic,
    "google": _google,
    "vertex": _google,
    "bedrock": _bedrock,
}
STOPS["vertex"] = STOPS["google"]  # Vertex answers as the Gemini API does


def error(provider: str, status: int, retry_after: str | None = None) -> Reply:
    """An error answer of `provider`, with its documented body."""
    kind = {429: "rate_limit_error", 401: "authentication_error"}.get(status, "api_error")
    bodies: dict[str, Json] = {
        "openai": {"error": {"message": "secret words", "type": kind, "code": None, "param": None}},
        "anthropic": {"type": "error", "error": {"type": kind, "message": "secret words"}},
        "google": {"error": {"code": status, "message": "secret words", "status": "X"}},
        "bedrock": {"message": "secret words"},
    }
    bodies["vertex"] = bodies["google"]
    headers = {} if retry_after is None else {"retry-after": retry_after}
    if provider == "bedrock":
        names = {429: "ThrottlingException", 401: "AccessDeniedException"}
        headers["x-amzn-ErrorType"] = names.get(status, "InternalServerException")
    return Reply(bodies[provider], status, headers)
