"""Vertex with the machine's own Google identity: a real token exchange, a real request.

Google's own servers are not asked: what they answer is as their reference documents it.
"""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.unit.models_wire import Reply, Server, answer, serving
from tests.unit.test_models_hosted import SAID, proposal, request

from interlock.bundles.routes import ModelCandidate
from interlock.models.hosted import HostedModel
from interlock.models.port import ModelPassed

TOKEN = {"access_token": "ya29.a-token", "expires_in": 3600, "token_type": "Bearer"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    for name in ("GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION", "GCLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")  # this machine may be one of Google's


def service_account(server: Server, file: Path) -> Path:
    """A service account's key file, whose tokens the local server gives out."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    account = {
        "type": "service_account",
        "project_id": "shop",
        "private_key_id": "1",
        "private_key": pem.decode(),
        "client_email": "generator@shop.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": f"{server.url}/token",
    }
    file.write_text(json.dumps(account))
    return file


def vertex(server: Server, **options: str) -> ModelCandidate:
    options = {"base_url": server.url, "project": "shop", "region": "europe-west4"} | options
    return ModelCandidate(provider="vertex", model="gemini-2.5-flash", options=options)


async def test_a_service_account_gets_a_token_and_asks_its_project_and_region(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reply = Reply(answer("google", json.dumps(SAID)))
    async with serving(Reply(TOKEN)) as tokens, serving(reply) as server:
        file = service_account(tokens, tmp_path / "key.json")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
        model, chosen = HostedModel(), vertex(server)
        response = await model.complete(request(chosen), chosen)
        await model.aclose()
    assert proposal(response).text == "Ten days."
    ((path, headers, body),) = server.seen
    assert path.endswith(
        "/projects/shop/locations/europe-west4/publishers/google/models/"
        "gemini-2.5-flash:generateContent"
    )
    assert headers["authorization"] == "Bearer ya29.a-token"
    assert body["generationConfig"]["maxOutputTokens"] == 2048
    assert "abstained" in json.dumps(body["generationConfig"]["responseJsonSchema"])
    assert len(tokens.seen) == 1


async def test_where_no_token_is_to_be_had_the_next_candidate_answers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with serving(Reply({"error": "invalid_grant"}, 400)) as tokens:
        file = service_account(tokens, tmp_path / "key.json")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
        chosen = vertex(tokens)
        model = HostedModel()
        with pytest.raises(ModelPassed, match=r"its client failed \(RefreshError\)") as passed:
            await model.complete(request(chosen), chosen)
        assert passed.value.unwell
        await model.aclose()


async def test_without_an_identity_it_is_passed_over() -> None:
    async with serving(Reply({})) as server:
        chosen = vertex(server)
        with pytest.raises(ModelPassed, match="no Google credentials"):
            await HostedModel().complete(request(chosen), chosen)
        assert server.seen == []
