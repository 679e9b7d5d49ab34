"""The contracts stand alone: pydantic is all they need, and no service comes with them."""

import subprocess
import sys

_PROGRAM = """
import importlib, pkgutil, sys
from importlib.abc import MetaPathFinder

ALLOWED = {"interlock_contracts", "pydantic", "pydantic_core", "annotated_types",
           "typing_extensions", "typing_inspection"} | set(sys.stdlib_module_names)

class OnlyPydantic(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        # _sysconfigdata_*: the interpreter's own, whose name is not in stdlib_module_names
        if name.partition(".")[0] not in ALLOWED and not name.startswith("_sysconfigdata"):
            raise ModuleNotFoundError(f"not allowed: {name}", name=name)

sys.meta_path.insert(0, OnlyPydantic())
import PLANTED
import interlock_contracts
for module in pkgutil.iter_modules(interlock_contracts.__path__):
    importlib.import_module(f"interlock_contracts.{module.name}")

services = [name for name in sys.modules if name.partition(".")[0] == "interlock"]
assert not services, services
print(sorted(name for name in sys.modules if name.startswith("interlock_contracts.")))
"""


def _run(planted: str) -> subprocess.CompletedProcess[str]:
    program = _PROGRAM.replace("PLANTED", planted)
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )


def test_everything_in_the_contracts_imports_with_pydantic_alone() -> None:
    done = _run("json")
    assert done.returncode == 0, done.stderr
    for module in ("event", "table", "schema", "asyncapi", "compat", "tools"):
        assert f"interlock_contracts.{module}" in done.stdout


def test_the_test_itself_would_notice_a_service_or_another_library() -> None:
    for planted in ("interlock.runtime.errors", "httpx"):
        done = _run(planted)
        assert done.returncode != 0
        assert f"not allowed: {planted.partition('.')[0]}" in done.stderr
