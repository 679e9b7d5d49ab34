"""From a bundle's folder, or its built file, to the bundle as checked data."""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from interlock.bundles.checks import check
from interlock.bundles.errors import BundleError
from interlock.bundles.model import Bundle
from interlock.bundles.policies import check_policies
from interlock.bundles.source import Source, read_source, read_texts, read_tools
from interlock.bundles.spelling import unknown_key
from interlock_contracts.canonical import canonical_json, digest_bytes

_FROM_FILES = {
    "tools": "tools.py",
    "policies": "the files policies/*.cedar",
    "prompts": "the files prompts/*.jinja",
}


def compile_bundle(path: Path) -> Bundle:
    """Compile a bundle and check all of it.

    `path` is a bundle's folder (with `bundle.yaml`, and as needed `tools.py`,
    `policies/*.cedar`, `prompts/*.jinja`), another YAML file in such a folder, or a `*.json`
    that `write_bundle` made.

    Raises:
        BundleError: every problem found, with file and, where known, line.
    """
    return compile_from(path)[0]


def compile_from(path: Path) -> tuple[Bundle, Source]:
    """`compile_bundle`, and where in the YAML everything stands."""
    if path.suffix == ".json":
        source = Source(path.name, {})
        bundle = _validated(_read_built(path), source)
    else:
        file = path / "bundle.yaml" if path.is_dir() else path
        source = read_source(file)
        bundle = _validated(_assemble(source, file.parent), source)
    problems = [*check(bundle, source), *check_policies(bundle)]
    if problems:
        raise BundleError(problems)
    # In the order of its canonical form: what has the same digest must behave the same, whether
    # it was read from a folder or from where it is stored.
    return Bundle.model_validate_json(canonical_json(bundle)), source


def write_bundle(bundle: Bundle, path: Path) -> None:
    """Write `bundle` as canonical JSON: the bytes its digest is taken over."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(canonical_json(bundle))


def _read_built(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError([f"{path}: cannot be read ({error.strerror})"]) from error


def _assemble(source: Source, folder: Path) -> bytes:
    """The bundle's JSON, not yet validated: the YAML's data with the other files' put in."""
    problems = [
        source.problem((key,), f"unknown key here: it is read from {where}")
        for key, where in _FROM_FILES.items()
        if key in source.data
    ]
    if problems:
        raise BundleError(problems)
    tools = read_tools(folder / "tools.py")
    prompts = read_texts(folder / "prompts", ".jinja")
    data: dict[str, Any] = source.data | {
        "tools": {name: tool.model_dump(mode="json") for name, tool in tools.items()},
        "policies": read_texts(folder / "policies", ".cedar"),
        "prompts": {name.removesuffix(".jinja"): text for name, text in prompts.items()},
    }
    data["gates"] = _gates(source, folder)
    _note_rule_order(data)
    try:
        # YAML has dates where the bundle has text: `version: 2026-01-31`.
        return json.dumps(data, default=str, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise BundleError([source.problem((), f"has no JSON form: {error}")]) from error


def _note_rule_order(data: dict[str, Any]) -> None:
    """Write down the order of the intents that have rules: canonical JSON sorts their names."""
    intents, router = data.get("intents"), data.get("router", {})
    if not isinstance(intents, dict) or not isinstance(router, dict):
        return  # validation says so
    ruled = [
        str(name) for name, one in intents.items() if isinstance(one, dict) and one.get("rules")
    ]
    if ruled != sorted(ruled):
        data["router"] = {"rule_order": ruled} | router


def _gates(source: Source, folder: Path) -> Any:
    """The gates, with the digest of each gold set's file in the place of its name."""
    gates = source.data.get("gates", {})
    evals = gates.get("evals", []) if isinstance(gates, dict) else []
    if not isinstance(evals, list):
        return gates
    named = []
    for number, gate in enumerate(evals):
        if not isinstance(gate, dict) or not isinstance(name := gate.get("gold"), str):
            return gates
        try:
            gold = digest_bytes((folder / name).read_bytes())
        except OSError as error:
            message = f"{name}: cannot be read ({error.strerror})"
            raise BundleError([source.problem(("gates", "evals", number), message)]) from error
        named.append({**gate, "name": name, "gold": gold})
    return {**gates, "evals": named}


def _validated(data: bytes, source: Source) -> Bundle:
    try:
        return Bundle.model_validate_json(data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        problems = []
        for item in found:
            unknown = item["type"] == "extra_forbidden"
            message = unknown_key(item["loc"]) if unknown else item["msg"]
            problems.append(source.problem(item["loc"], message))
        raise BundleError(problems) from error
