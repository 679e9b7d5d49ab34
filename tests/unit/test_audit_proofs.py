"""Proofs and exports hold for what is on record and nothing else, with the public key alone."""

import json
from collections.abc import Callable
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.audit import KEY, Place, files, record

from interlock.audit_sink.checkpoint import read_verifier_key, verifier_key
from interlock.audit_sink.export import check_export, export, open_export, read_export
from interlock.audit_sink.proofs import (
    Inclusion,
    check_consistency,
    check_inclusion,
    prove_consistency,
    prove_inclusion,
    read_proof,
)
from interlock.audit_sink.query import Query
from interlock.runtime.errors import UserError

PUBLIC = KEY.public_key()
SIZE = 600
anyway = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = files(tmp_path_factory.mktemp("proofs"))
    with closing(made.store()) as store:
        for first in (1, 201, 401):
            store.append([record(n, f'{{"n": {n}}}'.encode()) for n in range(first, first + 200)])
    return made


def notes(place: Place) -> list[str]:
    with closing(place.data()) as database:
        return [note for (note,) in database.execute("SELECT note FROM checkpoints ORDER BY size")]


@anyway
@given(
    sequence=st.integers(1, SIZE),
    opened=st.booleans(),
    field=st.sampled_from(["sequence", "tenant", "facets", "commitment", "path", "checkpoint"]),
)
def test_an_inclusion_proof_holds_and_a_changed_one_does_not(
    place: Place, sequence: int, opened: bool, field: str
) -> None:
    with place.reader() as reader:
        proof = prove_inclusion(reader, sequence, opened=opened)
    text = proof.model_dump_json()
    assert check_inclusion(Inclusion.model_validate_json(text), PUBLIC) is None
    forged = json.loads(text)
    if field in forged["columns"]:
        forged["columns"][field] += " "
    elif field == "sequence":
        forged[field] = sequence % SIZE + 1
    elif field == "path":
        forged[field] = forged[field][1:]
    elif field == "commitment":
        forged[field] = forged["seal"]
    else:
        forged[field] = notes(place)[0 if sequence > 200 else 1].replace("interlock", "other", 1)
    assert check_inclusion(Inclusion.model_validate(forged, strict=False), PUBLIC) is not None


def test_the_content_of_a_proof_is_the_one_recorded(place: Place) -> None:
    with place.reader() as reader:
        proof = prove_inclusion(reader, 7, opened=True)
    assert proof.content is not None
    assert proof.content.data == b'{"n": 7}'
    said = json.loads(proof.model_dump_json())
    said["content"]["data"] = said["content"]["headers"]
    forged = Inclusion.model_validate(said, strict=False)
    assert check_inclusion(forged, PUBLIC) == "the content is not the one that was recorded"


def test_a_proof_under_an_older_checkpoint(place: Place) -> None:
    with place.reader() as reader:
        proof = prove_inclusion(reader, 7, notes(place)[0])
        assert check_inclusion(proof, PUBLIC) is None
        with pytest.raises(UserError, match="not yet under"):
            prove_inclusion(reader, 201, notes(place)[0])
        with pytest.raises(UserError, match="no record"):
            prove_inclusion(reader, SIZE + 1)
    assert check_inclusion(proof, Ed25519PrivateKey.generate().public_key()) is not None


@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, 1), (0, None), (1, 2), (2, 2)])
def test_the_log_only_grew(place: Place, first: int, second: int | None) -> None:
    kept = notes(place)
    with place.reader() as reader:
        later = None if second is None else kept[second]
        proof = prove_consistency(reader, kept[first], later)
    again = read_proof(proof.model_dump_json())
    assert not isinstance(again, Inclusion)
    assert check_consistency(again, PUBLIC) is None
    swapped = again.model_copy(update={"first": kept[2], "second": kept[0]})
    assert (check_consistency(swapped, PUBLIC) is None) is False


def test_what_is_no_proof_is_said_so(place: Place) -> None:
    for text in ("", "{}", "[]", "null", '{"first": 3}'):
        with pytest.raises(UserError, match="no proof"):
            read_proof(text)


def test_a_verifier_key_is_read_back_and_pem_too() -> None:
    pem = PUBLIC.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()
    for text in (verifier_key(PUBLIC), pem):
        assert read_verifier_key(text).public_bytes_raw() == PUBLIC.public_bytes_raw()
    for text in ("", "a+b+c", verifier_key(PUBLIC).replace("+", "+0", 1)):
        with pytest.raises(ValueError, match="key"):
            read_verifier_key(text)


# Parquet comes with the extra `parquet`, which not everybody installs.
FORMS = pytest.mark.parametrize("form", ["jsonl", *(["parquet"] if find_spec("pyarrow") else [])])


def exported(place: Place, path: Path, form: Any, **options: Any) -> list[dict[str, Any]]:
    with place.reader() as reader:
        query = Query(tenant="acme", after=290)
        assert export(reader, query, path, form, **options) == SIZE - 290
    return list(read_export(path)[1])


@FORMS
def test_an_export_is_sealed_checked_by_anybody_and_opened_by_us(
    place: Place, tmp_path: Path, form: str
) -> None:
    path = tmp_path / "out"
    lines = exported(place, path, form)
    assert b'{"n": 300}' not in path.read_bytes()
    assert "data" not in lines[0] or lines[0]["data"] is None
    assert all(wrong is None for _, wrong in check_export(path, PUBLIC))
    with closing(place.keys()) as keys:
        read = list(open_export(path, keys))
    assert [line["data"] for line in read[:2]] == ['{"n": 291}', '{"n": 292}']
    with place.reader() as reader, pytest.raises(UserError, match="already"):
        export(reader, Query(), path, "jsonl")


@FORMS
def test_a_plain_export_is_read_without_us(place: Place, tmp_path: Path, form: str) -> None:
    path = tmp_path / "out"
    lines = exported(place, path, form, plain=True)
    assert lines[0]["data"] == '{"n": 291}'
    assert all(wrong is None for _, wrong in check_export(path, PUBLIC))


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[1].update(tenant="globex"),
        lambda lines: lines[1].update(data='{"n": 1}'),
        lambda lines: lines[1].update(sequence=4),
        lambda lines: lines[1].pop("path"),
        lambda lines: lines.insert(2, lines[1]),
        lambda lines: lines.reverse(),
    ],
)
def test_a_changed_export_is_found_out(
    place: Place, tmp_path: Path, change: Callable[[list[dict[str, Any]]], object]
) -> None:
    path = tmp_path / "out"
    lines = exported(place, path, "jsonl", plain=True)
    head = path.read_text().splitlines()[0]
    change(lines)
    path.write_text("\n".join([head, *map(json.dumps, lines)]) + "\n")
    assert any(wrong is not None for _, wrong in check_export(path, PUBLIC))


def test_what_is_no_export_is_said_so(tmp_path: Path) -> None:
    for number, text in enumerate(("", "{}", '{"format": "other"}', "\xff")):
        path = tmp_path / str(number)
        path.write_text(text, encoding="latin-1")
        with pytest.raises(UserError, match="no export"):
            read_export(path)
    with pytest.raises(UserError, match="no export"):
        read_export(tmp_path / "missing")
