"""A server of embeddings and rerankings, as OpenAI's and Cohere's are asked."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class TextsApi:
    """Answers as OpenAI's embeddings and Cohere's rerank do; `failing` are given first.

    `seen` are path, body and authorization of every call.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any], str]] = []
        self.failing: list[tuple[int, dict[str, str]]] = []
        self.answer: Callable[[str, dict[str, Any]], Any] = answer
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                server.seen.append((self.path, body, self.headers.get("authorization", "")))
                status, headers = server.failing.pop(0) if server.failing else (200, {})
                raw = json.dumps(server.answer(self.path, body)).encode()
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(raw))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"


def answer(path: str, body: dict[str, Any]) -> Any:
    if path.endswith("/rerank"):
        texts = body["documents"]
        order = sorted(range(len(texts)), key=lambda place: -len(texts[place]))
        return {"results": [{"index": i, "relevance_score": len(texts[i]) / 100} for i in order]}
    rows = [
        {"object": "embedding", "index": place, "embedding": [float(len(text)), 1.0, 0.0]}
        for place, text in enumerate(body["input"])
    ]
    return {"object": "list", "data": rows[::-1], "model": body["model"]}


@contextmanager
def texts_api() -> Iterator[TextsApi]:
    """A server that listens until the end of the block."""
    made = TextsApi()
    thread = threading.Thread(target=made.http.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield made
    finally:
        made.http.shutdown()
        thread.join()
        made.http.server_close()
