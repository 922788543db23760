"""A coordinator's home with a run that is finished and one that is half done."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
from tests.e2e.conftest import toml_of
from tests.flower_in_memory import connect_clients
from tests.tiny_federation import TinyFederation, make_federation, tiny_job

from fedward_common.job.job_file import Job, table_of_job
from fedward_server import cli
from fedward_server.coordinator.coordinator_home import CoordinatorHome
from fedward_server.coordinator.flower_control import FlowerControl
from fedward_server.coordinator.loopback_access import LoopbackAccess
from fedward_server.coordinator.superlink import superlink_app

FINISHED, HALF = "finished", "half"
SITES = "alder,birch,cedar"


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def refusal(self) -> str:
        """The one line and the hint that an error is."""
        error, hint = self.err.splitlines()
        assert error.startswith("error: "), self.err
        assert hint.startswith("hint: ")
        assert len(hint) > len("hint: ")
        assert self.code in (1, 2, 130)
        return self.err


Fedward = Callable[..., Ended]


@pytest.fixture(scope="session")
def member(tmp_path_factory: pytest.TempPathFactory) -> TinyFederation:
    """Three sites, whose coordinator's home has two runs."""
    federation = make_federation(tmp_path_factory.mktemp("member"))
    home = CoordinatorHome(federation.key_file.parent)
    home.make_folders()
    federation.run(home.runs / FINISHED)
    untold = shutil.ignore_patterns("receipt-*")
    shutil.copytree(home.runs / FINISHED, home.runs / HALF, ignore=untold)
    cut_after(home.runs / HALF, num_rounds=2)
    return federation


def cut_after(run: Path, *, num_rounds: int) -> None:
    """Take a journal back to where so many rounds were committed."""
    file = run / "entries.jsonl"
    kept, committed = [], 0
    for line in file.read_bytes().splitlines(keepends=True):
        kept.append(line)
        committed += b'"kind":"round.committed"' in line
        if committed == num_rounds:
            break
    file.write_bytes(b"".join(kept))


@pytest.fixture
def home(member: TinyFederation, tmp_path: Path) -> CoordinatorHome:
    """A copy that the test may change."""
    shutil.copytree(member.key_file.parent, tmp_path / "coordinator")
    return CoordinatorHome(tmp_path / "coordinator")


@pytest.fixture
def fedward(
    home: CoordinatorHome, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Fedward]:
    """Run a command on the home in this process, through its own `main`."""

    def run(*arguments: str) -> Ended:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["fedward", *arguments, "--home", str(home.folder)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return Ended(int(ended.value.code or 0), captured.out, captured.err)

    with mock.patch.dict(os.environ, {"COLUMNS": "200"}):
        yield run


@pytest.fixture
def control(
    home: CoordinatorHome, flower_database: Path, monkeypatch: pytest.MonkeyPatch
) -> FlowerControl:
    """The coordinator's process, but for its tasks: orders stay open."""
    access = LoopbackAccess(1)
    connect_clients(monkeypatch, superlink_app(flower_database, access))
    access.write(home.loopback_file)
    return FlowerControl(access)


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    return write_job(tmp_path / "job.toml", tiny_job())


def write_job(path: Path, job: Job) -> Path:
    path.write_text(toml_of(table_of_job(job)))
    return path
