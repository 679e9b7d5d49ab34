"""A question to a person that nobody answers: the action expires, and the request is answered."""

from pathlib import Path

import pytest

from interlock.bundles.compile import compile_bundle, write_bundle
from interlock.bundles.model import Bundle
from interlock.cli.common import operator_log
from interlock.cli.system import System
from interlock.runtime.settings import Settings
from interlock.sdk import Producer
from interlock_contracts.actions import Confirm, Notice, Result
from interlock_contracts.answer import Answer, AnswerStatus
from interlock_contracts.failures import FailureCode


def impatient(folder: Path) -> Path:
    """The example bundle, whose questions expire after two seconds."""
    example = compile_bundle(Path("examples/support"))
    limits = example.limits.model_copy(update={"approval_ttl_s": 2})
    path = folder / "impatient.json"
    write_bundle(Bundle.model_validate(example.model_copy(update={"limits": limits})), path)
    (folder / "knowledge").symlink_to(Path("examples/support/knowledge").resolve())
    (folder / "executor.py").symlink_to(Path("examples/support/executor.py").resolve())
    return path


@pytest.mark.parametrize("restarted", [False, True])
async def test_what_nobody_decides_is_denied_when_it_expires(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restarted: bool
) -> None:
    monkeypatch.setenv("SHOP_DATABASE", str(tmp_path / "shop.sqlite"))
    settings = Settings(state=tmp_path / "state", bundle=impatient(tmp_path), ack_wait=2.0)
    text = "Change the address of order A-1006 to 12 Elm Street, Portland"
    async with System(settings) as system:
        credential = settings.credential_of("producer-acme")
        async with await Producer.connect(system.broker.url, credential) as producer:
            request = producer.request(text, user="maria", role="customer")
            await producer.submit(request)
            seen = []
            async for event in producer.follow(request.request_id):
                seen.append(event.data)
                if isinstance(event.data, Confirm) and restarted:
                    break
    if restarted:  # waiting survives the whole system
        async with (
            System(settings) as system,
            await Producer.connect(system.broker.url, credential) as producer,
        ):
            seen.append(await producer.answer(request.request_id, timeout=20))
            async with operator_log(settings.model_copy(update={"credential": None})) as (_, log):
                logged = [m.event().data for m in await log.of_request(request.request_id)]
        results = [data for data in logged if isinstance(data, Result)]
        assert [r.failure and r.failure.code for r in results] == [FailureCode.APPROVAL_EXPIRED]
    assert {type(data) for data in seen} == {Notice, Confirm, Answer}
    answer = seen[-1]
    assert isinstance(answer, Answer)
    assert answer.status is AnswerStatus.ANSWERED
    assert [action.failure and action.failure.code for action in answer.actions] == [
        FailureCode.APPROVAL_EXPIRED
    ]
