"""Exports: records for others to keep, as JSON lines or Parquet, that can be checked without us.

An export holds the checkpoint it was made under and for every record the path to it, so that each
can be verified with the public key alone. Contents stay sealed: they are read with the
installation's keys (`audit open`), and so an erasure reaches every copy of an export too. With
`plain` they are readable by whoever has the file, and no erasure reaches them.
"""

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from interlock.audit_sink.keys import KeyStore
from interlock.audit_sink.proofs import (
    Inclusion,
    check_inclusion,
    prove_inclusion,
    size_and_root,
    subtrees,
)
from interlock.audit_sink.query import AuditReader, Query
from interlock.audit_sink.schema import READABLE
from interlock.audit_sink.sealing import unseal
from interlock.runtime.errors import UserError

FORMAT = "interlock.audit.export.v1"
Form = Literal["jsonl", "parquet"]
Line = dict[str, Any]
"""One record: sequence, version, the readable columns, `commitment`, `seal`, `path` (base64),
`payload` (sealed, base64; null once it is gone); of a plain export `headers` and `data` as text
(`data_base64` where it is none) and `salt`."""

_PAGE = 1_000


def export(
    reader: AuditReader,
    query: Query,
    path: Path,
    form: Form,
    *,
    plain: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Write the records that fit into a new file; how many there were.

    Raises:
        UserError: the file is there already, or pyarrow (for Parquet) is not.
    """
    if path.exists():
        raise UserError(f"{path} is there already")
    note = reader.checkpoint()
    head = {"format": FORMAT, "checkpoint": note, "plain": plain}
    lines = _counted(_lines(reader, query, note, plain), progress)
    write = _write_parquet if form == "parquet" else _write_jsonl
    partial = path.with_name(path.name + ".partial")
    try:
        count = write(partial, head, lines)
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
    return count


def read_export(path: Path) -> tuple[Line, Iterator[Line]]:
    """The head of an export and its lines; raises `UserError` for what is none."""
    try:
        with path.open("rb") as file:
            parquet = file.read(4) == b"PAR1"
        return _read_parquet(path) if parquet else _read_jsonl(path)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} is no export of the audit log ({type(error).__name__})") from None


def check_export(path: Path, key: Ed25519PublicKey) -> Iterator[tuple[int, str | None]]:
    """For each record of an export its sequence and what is wrong with it; None: nothing."""
    head, lines = read_export(path)
    before = 0
    for line in lines:
        try:
            proof = _proof(line, head["checkpoint"])
            wrong = check_inclusion(proof, key)
        except (KeyError, ValueError, TypeError):
            wrong = "the line is damaged"
        sequence = line.get("sequence", 0)
        if wrong is None and sequence <= before:
            wrong = "it stands out of order, or twice"
        before = max(before, sequence)
        yield sequence, wrong


def open_export(path: Path, keys: KeyStore) -> Iterator[Line]:
    """The records of an export with what can be read of them: `state` readable or erased."""
    _, lines = read_export(path)
    for line in lines:
        shown: Line = {name: line[name] for name in ("sequence", *READABLE)}
        owner = keys.get(line["data_subject"])
        payload = line["payload"]
        content = (
            None
            if owner is None or payload is None
            else unseal(base64.b64decode(payload), owner.key, line["sequence"])
        )
        shown["state"] = "erased" if content is None else "readable"
        if content is not None:
            shown |= {"headers": json.loads(content.headers), **_data(content.data)}
        yield shown


def _lines(reader: AuditReader, query: Query, note: str, plain: bool) -> Iterator[Line]:
    size, _ = size_and_root(note)
    subtree = subtrees(reader.database)
    for record in reader.select(replace(query, until_sequence=size)):
        opened = plain and record.data is not None
        proof = prove_inclusion(reader, record.sequence, note, opened=opened, subtree=subtree)
        ((payload,),) = reader.database.execute(
            "SELECT payload FROM events WHERE sequence = ?", (record.sequence,)
        )
        line: Line = {
            "sequence": proof.sequence,
            "version": proof.version,
            **proof.columns,
            "commitment": _text(proof.commitment),
            "seal": _text(proof.seal),
            "path": [_text(one) for one in proof.path],
            "payload": None if payload is None else _text(bytes(payload)),
        }
        if opened and proof.content is not None:
            content = proof.content
            line |= {"headers": content.headers.decode(), **_data(content.data)}
            line["salt"] = _text(content.salt)
        yield line


def _proof(line: Line, note: str) -> Inclusion:
    content = None
    if line.get("salt") is not None:
        data = line.get("data")
        exact = line["data_base64"] if data is None else _text(data.encode())
        headers = _text(line["headers"].encode())
        content = {"headers": headers, "data": exact, "salt": line["salt"]}
    return Inclusion.model_validate_json(
        json.dumps(
            {
                "sequence": line["sequence"],
                "version": line["version"],
                "columns": {name: line[name] for name in READABLE},
                "commitment": line["commitment"],
                "seal": line["seal"],
                "path": list(line["path"]),
                "checkpoint": note,
                "content": content,
            }
        )
    )


def _data(data: bytes) -> Line:
    try:
        return {"data": data.decode()}
    except UnicodeDecodeError:
        return {"data_base64": _text(data)}


def _write_jsonl(path: Path, head: Line, lines: Iterable[Line]) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(head) + "\n")
        for line in lines:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            count += 1
    return count


def _read_jsonl(path: Path) -> tuple[Line, Iterator[Line]]:
    with path.open(encoding="utf-8") as file:
        head: Line = json.loads(file.readline())
    _known(head)

    def lines() -> Iterator[Line]:
        with path.open(encoding="utf-8") as file:
            for number, text in enumerate(islice(file, 1, None), 2):
                try:
                    yield json.loads(text)
                except ValueError:
                    raise UserError(f"{path}: line {number} is no JSON") from None

    return head, lines()


def _write_parquet(path: Path, head: Line, lines: Iterable[Line]) -> int:
    arrow, parquet = _pyarrow()
    text, number = arrow.string(), arrow.int64()
    columns = dict.fromkeys((*READABLE, "commitment", "seal", "payload"), text)
    more = dict.fromkeys(("headers", "data", "data_base64", "salt"), text)
    fields = {"sequence": number, "version": number, **columns, "path": arrow.list_(text), **more}
    schema = arrow.schema(list(fields.items()), metadata={"interlock": json.dumps(head)})
    count, remaining = 0, iter(lines)
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while page := list(islice(remaining, _PAGE)):
            rows = [{name: line.get(name) for name in fields} for line in page]
            writer.write_table(arrow.Table.from_pylist(rows, schema=schema))
            count += len(page)
    return count


def _read_parquet(path: Path) -> tuple[Line, Iterator[Line]]:
    _, parquet = _pyarrow()
    file = parquet.ParquetFile(path)
    head: Line = json.loads(file.schema_arrow.metadata[b"interlock"])
    _known(head)
    lines = (line for batch in file.iter_batches(_PAGE) for line in batch.to_pylist())
    return head, lines


def _known(head: Line) -> None:
    if head["format"] != FORMAT:
        raise ValueError(head["format"])


def _pyarrow() -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ModuleNotFoundError:
        raise UserError("Parquet needs pyarrow: pip install 'interlock[parquet]'") from None


def _counted(lines: Iterable[Line], progress: Callable[[int], None]) -> Iterator[Line]:
    for count, line in enumerate(lines, 1):
        progress(count)
        yield line


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
