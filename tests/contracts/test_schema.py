"""What is generated from the table is committed, complete and consistent."""

import json
from pathlib import Path

import pytest
from tests.contracts.goldens import ROOT, SCHEMAS, golden_event

from interlock_contracts.asyncapi import asyncapi
from interlock_contracts.failures import AREA_OF, MEANING, RETIRED, FailureArea, FailureCode
from interlock_contracts.schema import (
    DIALECT,
    document_files,
    events_page,
    failures_page,
    main,
    schema_files,
    schemas,
)
from interlock_contracts.subjects import parse_subject
from interlock_contracts.table import EVENTS, Actor, published_by, received_by


def test_what_is_committed_is_what_the_table_gives() -> None:
    assert main(["--check", "--docs", str(ROOT / "docs"), str(SCHEMAS)]) == 0


def test_check_names_what_drifted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--docs", str(tmp_path / "docs"), str(tmp_path / "schemas")]
    assert main(["--check", *arguments]) == 1
    assert main(arguments) == 0
    assert main(["--check", *arguments]) == 0
    capsys.readouterr()
    (tmp_path / "docs" / "events.md").write_text("# Events\n")
    (tmp_path / "schemas" / "route.json").unlink()
    (tmp_path / "schemas" / "stray.json").write_text("{}")
    assert main(["--check", *arguments]) == 1
    said = capsys.readouterr().err
    assert [name in said for name in ("events.md", "route.json", "stray.json")] == [True] * 3
    assert "answer.json" not in said
    assert main(arguments) == 0
    assert not (tmp_path / "schemas" / "stray.json").exists()
    assert main(["--check", *arguments]) == 0


def test_the_same_table_gives_the_same_bytes() -> None:
    assert schema_files() == schema_files()
    assert document_files() == document_files()


def test_every_schema_names_its_dialect_itself_and_its_purpose() -> None:
    made = schemas()
    assert len({schema["$id"] for schema in made.values()}) == len(made)
    for spec in EVENTS:
        schema = made[spec.name]
        assert schema["$schema"] == DIALECT
        assert schema["$id"] == f"urn:interlock:{spec.name}:v{spec.version}"
        assert schema["title"] == spec.type
        assert schema["description"].startswith(spec.summary)
        assert schema["additionalProperties"] is False


def test_asyncapi_refers_only_to_what_exists() -> None:
    document = asyncapi()

    def references(part: object) -> list[str]:
        if isinstance(part, dict):
            here = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
            return here + [ref for value in part.values() for ref in references(value)]
        return (
            [ref for value in part for ref in references(value)] if isinstance(part, list) else []
        )

    for reference in references(document):
        if reference.startswith("./"):
            assert (SCHEMAS / reference.removeprefix("./")).is_file(), reference
            continue
        target: object = document
        for name in reference.removeprefix("#/").split("/"):
            assert isinstance(target, dict)
            assert name in target, reference
            target = target[name]


def test_asyncapi_has_a_channel_per_event_and_an_operation_per_right() -> None:
    document = asyncapi()
    assert set(document["channels"]) == {spec.name for spec in EVENTS} | {"fact", "fact-reply"}
    wanted = {f"{actor}-send-{spec.name}" for actor in Actor for spec in published_by(actor)}
    wanted |= {f"{actor}-receive-{spec.name}" for actor in Actor for spec in received_by(actor)}
    wanted |= {"contract-validator-send-fact", "tool-executor-receive-fact"}
    assert set(document["operations"]) == wanted


@pytest.mark.parametrize("spec", EVENTS, ids=lambda spec: spec.name)
def test_the_asyncapi_address_is_the_real_one(spec: object) -> None:
    name = getattr(spec, "name", "")
    channel = asyncapi()["channels"][name]
    subject = golden_event(name).subject
    parts = {"cell": subject.cell, "tenant": subject.tenant, "request_id": subject.request_id}
    parts |= {"step": subject.step}
    parts |= dict.fromkeys(("tool", "approver", "stage"), subject.tail or "")
    assert parse_subject(channel["address"].format(**parts)) == subject
    for parameter in channel["parameters"]:
        assert f"{{{parameter}}}" in channel["address"]


def test_the_pages_have_a_row_for_every_event_and_every_code() -> None:
    for spec in EVENTS:
        assert f"| [`{spec.name}`]" in events_page()
    for code in FailureCode:
        assert f"| `{code}` | {MEANING[code]} |" in failures_page()


def test_the_failure_codes_are_closed() -> None:
    assert set(MEANING) == set(FailureCode) == set(AREA_OF)
    assert set(AREA_OF.values()) == set(FailureArea)
    assert not RETIRED & {str(code) for code in FailureCode}
    assert len(set(MEANING.values())) == len(MEANING)
    for meaning in MEANING.values():
        assert meaning.endswith(".")
        assert "|" not in meaning
        assert "\n" not in meaning


def test_the_schema_files_are_json() -> None:
    for name, text in schema_files().items():
        assert json.loads(text), name
