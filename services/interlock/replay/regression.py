"""From a case file to a test that keeps the incident from coming back."""

import shutil
from pathlib import Path

from interlock.replay.case import CaseFile
from interlock.runtime.errors import UserError

_HEAD = '''"""The incident {id}; made by `interlock replay {file} --to-test`."""

from pathlib import Path

from interlock.testing import Incident

INCIDENT = Incident(Path(__file__).with_name("{file}"))
'''

_IDENTICAL = """

def test_the_stages_still_decide_as_recorded() -> None:
    assert INCIDENT.divergences() == []
"""

_OUTCOME = """

def test_how_it_ends{name}() -> None:
    found = INCIDENT.under({bundle})
    assert found.missing is None
    assert found.status == {status!r}
    assert [(one.tool, one.decision) for one in found.outcome.actions] == {actions!r}
    assert list(found.outcome.codes) == {codes!r}
"""


def write_test(case: CaseFile, path: Path, target: Path, with_: list[str] | None) -> str:
    """Write `target` and put the case beside it; the paths, for people.

    With `bundle=DIR` the test asserts what the request comes to under that bundle as it is now:
    look at it, and correct what is not what you want. Raises `UserError`.
    """
    from interlock.testing.incident import Incident

    if target.suffix != ".py":
        raise UserError(f"{target}: a test is a Python file")
    if target.exists():
        raise UserError(f"{target} is there already")
    given = dict(one.partition("=")[::2] for one in with_ or ())
    if set(given) - {"bundle"}:
        raise UserError("--to-test takes --with bundle=DIR only")
    incident, bundle = Incident(path), given.get("bundle")
    found = incident.under(bundle)
    if found.missing is not None:
        raise UserError(f"its outcome cannot be evaluated: {found.missing}")
    text = _HEAD.format(id=case.request_id, file=path.name)
    if not case.redacted:
        text += _IDENTICAL
    text += _OUTCOME.format(
        name="_under_the_bundle" if bundle else "",
        bundle=repr(bundle) if bundle else "",
        status=found.status,
        actions=[(one.tool, one.decision) for one in found.outcome.actions],
        codes=list(found.outcome.codes),
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    beside = target.with_name(path.name)
    if beside.resolve() != path.resolve():
        shutil.copyfile(path, beside)
    return f"{target} and {beside}"
