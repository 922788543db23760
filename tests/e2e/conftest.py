"""The command as a person runs it: `fedward simulate` on three tiny hospitals."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.tied_process import TIE, tied_command
from tests.tiny_federation import SITES, Picture, pictures_of, tiny_job, write_site

from fedward_common.job.job_file import Job, table_of_job
from fedward_server import cli


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Workplace:
    """A folder with a job, a cohorts file and data."""

    folder: Path

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def simulate(self, *options: str, out: str = "out", workers: int = 0) -> list[str]:
        """Give the command's arguments."""
        return [
            "simulate", str(self.folder / "job.toml"),
            "--cohorts", str(self.folder / "cohorts.toml"),
            "--data-root", str(self.folder / "data"),
            "--out", str(self.folder / out),
            "--workers", str(workers),
            *options,
        ]  # fmt: skip

    def result(self, out: str = "out") -> dict[str, Any]:
        """Read what `--out` holds; NaN and Infinity are no JSON."""

        def refuse(constant: str) -> None:
            raise ValueError(f"{constant} in result.json")

        text = (self.folder / out / "result.json").read_text()
        result: dict[str, Any] = json.loads(text, parse_constant=refuse)
        return result


def toml_of(table: dict[str, Any]) -> str:
    """Write a job's or cohorts' table; JSON values are TOML's, tables inline."""
    return "\n".join(f"{key} = {_value(value)}" for key, value in table.items()) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    return json.dumps(value)


MakeWorkplace = Callable[..., Workplace]


def write_workplace(
    folder: Path,
    job: Job | None = None,
    pictures: dict[str, Sequence[Picture]] | None = None,
) -> Workplace:
    data = folder / "data"
    data.mkdir(parents=True)
    drawn = {site: pictures_of(site) for site in SITES} | (pictures or {})
    sites = {site: write_site(data, site, list(p)) for site, p in drawn.items()}
    (folder / "cohorts.toml").write_text(toml_of({"sites": sites}))
    (folder / "job.toml").write_text(toml_of(table_of_job(job or tiny_job())))
    return Workplace(folder)


@pytest.fixture
def make_workplace(tmp_path: Path) -> MakeWorkplace:
    def make(job: Job | None = None, **pictures: Sequence[Picture]) -> Workplace:
        return write_workplace(tmp_path / "work", job, dict(pictures))

    return make


Fedward = Callable[[Sequence[str]], Ended]


@pytest.fixture
def fedward(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Fedward:
    """Run the command in this process, through its own `main`."""

    def run(arguments: Sequence[str]) -> Ended:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["fedward", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
        captured = capfd.readouterr()
        return Ended(code, captured.out, captured.err)

    return run


def start_fedward(arguments: Sequence[str]) -> "subprocess.Popen[str]":
    """Start the command as a process, in a group of its own; it ends with this one."""
    return subprocess.Popen(
        tied_command("fedward_server.cli", *arguments),
        stdin=TIE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"COLUMNS": "200"},
    )


def require_one_line_and_a_hint(ended: Ended) -> str:
    """An error is one line with a hint under it, and no traceback; give the line."""
    lines = [line for line in ended.err.splitlines() if line.strip()]
    assert "Traceback" not in ended.err
    assert lines[-2].startswith("error: "), ended.err
    assert lines[-1].startswith("hint: "), ended.err
    assert len(lines[-1]) > len("hint: ")
    return lines[-2]
