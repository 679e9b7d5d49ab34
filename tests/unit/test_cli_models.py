"""`doctor` about models: which could not be asked from here, and what is missing."""

import pytest
from tests.support.generator import bundle
from tests.unit.test_models_choice import EMBEDDED, hosted

from interlock.bundles.routes import ModelCandidate
from interlock.cli.models_at_hand import hosted_models, out_of_reach


def test_a_key_that_is_not_set_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SET_API_KEY", "sk-very-secret")
    monkeypatch.delenv("UNSET_API_KEY", raising=False)
    unset = {"key_env": "UNSET_API_KEY"}
    of = bundle(
        hosted("good", options={"key_env": "SET_API_KEY"}),
        hosted("bad", options=unset),
        hosted("bad", options=unset, timeout_s=5),
        ModelCandidate(provider="record", model="kept", options={"of": "google"} | unset),
        hosted("local", options={"base_url": "http://127.0.0.1:1"}),
        EMBEDDED,
    )
    assert out_of_reach(of) == [
        "openai/bad: UNSET_API_KEY is not set here",
        "google/kept: UNSET_API_KEY is not set here",
    ]
    assert hosted_models(of) == ["openai/good", "openai/bad", "google/kept", "openai/local"]
    assert "secret" not in str(out_of_reach(of))


def test_what_is_missing_altogether(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interlock.cli.models_at_hand.find_spec", lambda _: None)
    assert out_of_reach(bundle(hosted())) == ["interlock[models] is not installed"]
    assert out_of_reach(bundle(EMBEDDED)) == []
