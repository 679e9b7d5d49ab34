"""What ships and how: the lock, the Makefile, the contracts alone, image and compose file."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from interlock_contracts.table import SERVICES

ROOT = Path(__file__).parents[2]
PROJECTS = (ROOT / "pyproject.toml", ROOT / "contracts" / "pyproject.toml")
OWN = ("interlock", "interlock-contracts")


def lock_entries(text: str) -> dict[str, tuple[str, list[str]]]:
    """Name → (version, SHA-256 hashes) of each pinned distribution."""
    found: dict[str, tuple[str, list[str]]] = {}
    name = ""
    for line in text.splitlines():
        if pin := re.match(r"([A-Za-z0-9._-]+)==(\S+)", line):
            name = canonicalize_name(pin[1])
            found[name] = (pin[2], [])
        elif hashed := re.match(r"\s+--hash=sha256:([0-9a-f]{64})(?: \\)?$", line):
            found[name][1].append(hashed[1])
    return found


def wanted() -> list[Requirement]:
    """All that the two distributions ask for: to run, every extra, to be built and developed."""
    found: list[Requirement] = []
    for path in PROJECTS:
        project = tomllib.loads(path.read_text())
        lines = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
        lines += project.get("dependency-groups", {}).get("dev", [])
        for extra in project["project"].get("optional-dependencies", {}).values():
            lines += extra
        found += [Requirement(line) for line in lines]
    return [need for need in found if canonicalize_name(need.name) not in OWN]


class TestLock:
    text = (ROOT / "requirements.lock").read_text()
    entries = lock_entries(text)

    @pytest.mark.parametrize("need", wanted(), ids=str)
    def test_satisfies_what_is_declared(self, need: Requirement) -> None:
        version, _ = self.entries[canonicalize_name(need.name)]
        assert need.specifier.contains(version, prereleases=True)

    def test_every_pin_has_hashes(self) -> None:
        assert len(self.entries) > 50
        assert [name for name, (_, hashes) in self.entries.items() if not hashes] == []

    def test_every_line_is_a_pin_a_hash_or_a_comment(self) -> None:
        allowed = re.compile(
            r"[a-z0-9._-]+(\[[a-z,]+\])?==[^\s;]+( ;[^\\]+)? \\|    --hash=sha256:\S+( \\)?|\s*#.*|"
        )
        assert [line for line in self.text.splitlines() if not allowed.fullmatch(line)] == []

    def test_names_no_host(self) -> None:
        assert re.findall(r"\w+://\S+|/opt/\S+|/home/\S+|/work/\S+", self.text) == []


def fake(path: Path, script: str) -> Path:
    """An executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A fresh clone as far as make can see, with a Python that only notes what it is asked."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml", "contracts/pyproject.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    log = tmp_path / "log"
    made = tmp_path / ".venv" / "bin"
    fake(
        tmp_path / "python",
        f'echo "python $*" >> {log}\n'
        f'[ "$2" = venv ] && mkdir -p {made} && cp {tmp_path}/tool {made}/pip'
        f" && cp {tmp_path}/tool {made}/interlock\nexit 0",
    )
    fake(tmp_path / "tool", f'echo "$(basename $0) $*" >> {log}')
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make there with the fake Python, without this make's own settings."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    command = ["make", "-C", str(folder), f"PYTHON={folder}/python", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=60, check=False
    )


class TestMakefile:
    def test_prepares_from_the_lock_alone(self, clone: Path) -> None:
        done = make(clone, "demo")
        assert done.returncode == 0, done.stderr
        log = (clone / "log").read_text().splitlines()
        installs = [line for line in log if line.startswith("pip install")]
        assert len(installs) == 3
        for line in installs[:2]:
            assert "--require-hashes" in line
        for line in installs[1:]:
            assert "--no-build-isolation" in line, "or pip would fetch unpinned build tools"
        assert "--no-deps" in installs[2]
        assert "index" not in " ".join(log)
        assert log[-1] == "interlock demo"

    def test_the_second_time_prepares_nothing(self, clone: Path) -> None:
        make(clone, "demo")
        (clone / "log").unlink()
        make(clone, "demo")
        assert (clone / "log").read_text() == "interlock demo\n"

    @pytest.mark.parametrize(
        "changed", ["requirements.lock", "pyproject.toml", "contracts/pyproject.toml"]
    )
    def test_prepares_again_when_a_requirement_changed(self, clone: Path, changed: str) -> None:
        make(clone, "demo")
        ready = (clone / ".venv" / ".ready").stat()
        os.utime(clone / changed, (ready.st_atime + 1, ready.st_mtime + 1))
        (clone / "log").unlink()
        make(clone, "demo")
        assert "pip install" in (clone / "log").read_text()

    def test_an_old_python_is_told_in_one_line(self, clone: Path) -> None:
        fake(clone / "python", "exit 1")
        done = make(clone, "test")
        assert done.returncode != 0
        told = [line for line in done.stderr.splitlines() if not line.startswith("make")]
        assert told == ["Interlock needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"]
        assert not (clone / ".venv").exists()

    def test_the_build_tools_are_taken_from_the_lock(self, clone: Path) -> None:
        make(clone, "demo")
        tools = lock_entries((clone / ".venv" / "build.lock").read_text())
        assert set(tools) == {"packaging", "setuptools", "wheel"}
        assert tools == {name: TestLock.entries[name] for name in tools}


ALONE = """
import importlib, pkgutil, sys
before = set(sys.modules)
import interlock_contracts
for module in pkgutil.walk_packages(interlock_contracts.__path__, "interlock_contracts."):
    importlib.import_module(module.name)
after = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(n for n in after - set(sys.stdlib_module_names) if not n.startswith("_sysconfig")))
"""

PYDANTIC = {
    "annotated_types",
    "pydantic",
    "pydantic_core",
    "typing_extensions",
    "typing_inspection",
}


def test_contracts_import_with_pydantic_and_nothing_else() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE], capture_output=True, text=True, check=True, timeout=60
    )
    assert set(done.stdout.split()) - PYDANTIC == {"interlock_contracts"}


class TestCompose:
    compose: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    containers: dict[str, Any] = compose["services"]

    def volumes(self, name: str) -> dict[str, str]:
        """Source → the rest of each mount."""
        pairs = (mount.split(":", 1) for mount in self.containers[name].get("volumes", ()))
        return dict(pairs)

    def test_has_every_service(self) -> None:
        assert set(SERVICES) < set(self.containers)

    @pytest.mark.parametrize("name", sorted(containers))
    def test_is_confined(self, name: str) -> None:
        container = self.containers[name]
        assert container["read_only"] is True
        assert container["cap_drop"] == ["ALL"]
        assert container["security_opt"] == ["no-new-privileges:true"]
        assert container["mem_limit"]
        assert container["pids_limit"]
        assert "privileged" not in container
        assert "user" not in container, "the image's own user is not root"

    @pytest.mark.parametrize("name", SERVICES)
    def test_a_service_sees_its_own_credential_only(self, name: str) -> None:
        named = {source for source in self.volumes(name) if not source.startswith("./")}
        assert named == {name}
        assert self.containers[name]["environment"]["INTERLOCK_STATE"] == f"/state/{name}"

    def test_only_init_sees_the_vault(self) -> None:
        seen = [name for name in self.containers if "vault" in self.volumes(name)]
        assert seen == ["init"]

    @pytest.mark.parametrize("name", SERVICES)
    def test_a_service_scales(self, name: str) -> None:
        assert "container_name" not in self.containers[name]
        assert "ports" not in self.containers[name]

    @pytest.mark.parametrize("name", [*SERVICES, "broker", "qdrant"])
    def test_what_keeps_running_is_checked(self, name: str) -> None:
        assert self.containers[name]["healthcheck"]["test"]

    @pytest.mark.parametrize("name", SERVICES)
    def test_a_service_waits_for_what_it_needs(self, name: str) -> None:
        waits = {on: how["condition"] for on, how in self.containers[name]["depends_on"].items()}
        assert waits.pop("qdrant", "service_healthy") == "service_healthy"
        assert waits == {
            "init": "service_completed_successfully",
            "provision": "service_completed_successfully",
            "broker": "service_healthy",
        }

    def test_only_the_broker_is_reached_from_outside_and_from_this_host_alone(self) -> None:
        ports = {name: c["ports"] for name, c in self.containers.items() if "ports" in c}
        assert list(ports) == ["broker"]
        assert all(port.startswith("127.0.0.1:") for port in ports["broker"])

    def test_only_the_retriever_reaches_the_index(self) -> None:
        inside = [name for name, c in self.containers.items() if "index" in c.get("networks", ())]
        assert sorted(inside) == ["qdrant", "retriever"]

    @pytest.mark.parametrize("name", sorted(containers))
    def test_image_is_pinned(self, name: str) -> None:
        assert re.search(r":(?!latest)[\w.-]+\}?$", self.containers[name]["image"])


class TestImage:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()

    def test_every_volume_has_its_folder(self) -> None:
        """A volume mounted where the image has no folder belongs to root and cannot be written."""
        folders = re.search(r"for name in (.+?); do", self.dockerfile, re.DOTALL)
        assert folders
        made = {f"/state/{name}" for name in folders[1].replace("\\", "").split()} | {"/data"}
        mounted = {
            mount.split(":")[1]
            for container in TestCompose.containers.values()
            for mount in container.get("volumes", ())
            if not mount.startswith(("./", "qdrant-data"))
        }
        assert mounted == made

    def test_runs_as_a_numbered_user_that_is_not_root(self) -> None:
        user = re.findall(r"^USER (\d+):\d+$", self.dockerfile, re.MULTILINE)
        assert [int(uid) > 0 for uid in user] == [True]

    def test_what_is_copied_is_let_through_by_the_ignore_file(self) -> None:
        allowed = (ROOT / ".dockerignore").read_text()
        copied = re.findall(r"^COPY (?!--from)(?:--\S+ )?(.+) \S+$", self.dockerfile, re.MULTILINE)
        for source in " ".join(copied).split():
            assert f"!{source}" in allowed, source
            assert (ROOT / source).exists()


class Service(BaseHTTPRequestHandler):
    """Answers `/ready` with `status`."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/ready" else 404)
        self.end_headers()
        self.wfile.write(b"said\n")

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def ready(port: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the image's health check."""
    return subprocess.run(
        [sys.executable, "-IS", str(ROOT / "deploy" / "ready.py"), *arguments],
        env={"INTERLOCK_HTTP_PORT": str(port)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(("status", "code"), [(200, 0), (404, 1), (503, 1)])
def test_health_check(monkeypatch: pytest.MonkeyPatch, status: int, code: int) -> None:
    monkeypatch.setattr(Service, "status", status)
    with HTTPServer(("127.0.0.1", 0), Service) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        by_setting = ready(server.server_port)
        by_argument = ready(0, f"{server.server_port}/ready")
        server.shutdown()
        gone = server.server_port
    for done in (by_setting, by_argument):
        assert (done.returncode, done.stdout) == (code, "said\n"), done.stderr
    assert ready(gone).returncode == 1
