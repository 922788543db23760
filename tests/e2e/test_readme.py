"""The commands of README and REGISTERING do what they say, and leave the files that they name."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.at_a_terminal import shell_at_terminal

_BLOCK = re.compile(
    r"^<!-- (runs in CI(?: with data|: federation)?) -->\n```bash\n(.*?)^```", re.M | re.S
)
_NO_DATA, _WITH_DATA = "runs in CI", "runs in CI with data"
_FEDERATION = "runs in CI: federation"
_MOST_COMMANDS = 10
_FEDERATION_SECONDS = 900
_STOP = "kill $(jobs -p)\n"
_ANSWERS = {
    "Passphrase of the consortium's authority: ": "five words nobody would guess",
    "Once more: ": "five words nobody would guess",
    "over the telephone? [y/N]: ": "y",
}
_PAGES = ("README.md", "docs/REGISTERING.md")
_COMMANDS = ("fedward ", "fedward-site ", "export FEDWARD_SITE_HOME=", " ")
_FIRST_CELL = re.compile(r"^\| (.+?) \|", re.M)


def _blocks(project_root: Path, kind: str, page: str = _PAGES[0]) -> list[str]:
    text = (project_root / page).read_text(encoding="utf-8")
    return [block for found, block in _BLOCK.findall(text) if found == kind]


def _is_demo(block: str) -> bool:
    return block.startswith("fedward demo")


def _run(block: str, folder: Path, **environment: str) -> None:
    """Run a block as a reader would, with the commands of this interpreter."""
    assert all(line.startswith(_COMMANDS) for line in block.splitlines())
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=folder,
        env=os.environ | environment | {"PATH": _path()},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"


def _path() -> str:
    """Find the commands of this interpreter first."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


def _commands(blocks: list[str]) -> list[str]:
    """Give what a person types, a loop as one command."""
    whole = "".join(blocks).replace("\\\n", " ")
    return [line for line in whole.splitlines() if not line.startswith((" ", "done"))]


def _named_in_readme(project_root: Path, prefix: str) -> list[str]:
    """Give the paths in backticks that begin with `prefix`."""
    text = (project_root / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"`({re.escape(prefix)}[^`\s]*)`", text)


def _paths_of_out(project_root: Path) -> list[str]:
    text = (project_root / "README.md").read_text(encoding="utf-8")
    table = text.split("## What is in `--out`")[1].split("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", table, re.M)


def _described_fields(project_root: Path) -> set[str]:
    text = (project_root / "docs" / "RESULT_SCHEMA.md").read_text(encoding="utf-8")
    return {name for cell in _FIRST_CELL.findall(text) for name in re.findall(r"`(\w+)`", cell)}


@pytest.fixture
def folder(tmp_path: Path, project_root: Path) -> Path:
    shutil.copytree(project_root / "examples", tmp_path / "examples")
    return tmp_path


@pytest.mark.parametrize("page", _PAGES)
def test_commands_that_need_neither_data_nor_time_work(
    folder: Path, project_root: Path, page: str
) -> None:
    blocks = [block for block in _blocks(project_root, _NO_DATA, page) if not _is_demo(block)]
    assert blocks
    for block in blocks:
        _run(block, folder)
    assert (folder / "home" / "cohorts" / "chest" / "snapshots" / "2.json").is_file()


@pytest.mark.slow
def test_the_demo_leaves_its_reports_and_results_of_described_fields(
    folder: Path, project_root: Path
) -> None:
    blocks = [block for block in _blocks(project_root, _NO_DATA) if _is_demo(block)]
    assert blocks
    for block in blocks:
        _run(block, folder)
    named = _named_in_readme(project_root, "demo-out/")
    assert named
    assert [path for path in named if not (folder / path).is_file()] == []
    for job in ("detect", "outline"):
        result = json.loads((folder / "demo-out" / job / "result.json").read_text())
        inner = ("selected", "privacy", "seconds", "secure_aggregation", *result["sites"])
        fields = set(result).union(*(result.get(k) or result["sites"].get(k) for k in inner))
        assert fields - _described_fields(project_root) == set()


def test_a_federation_on_one_machine_takes_ten_commands(project_root: Path) -> None:
    *blocks, stop = _blocks(project_root, _FEDERATION)
    commands = _commands(blocks)
    assert stop == _STOP
    assert 5 < len(commands) <= _MOST_COMMANDS
    assert all(command.startswith((*_COMMANDS, "for ", "run=$(fedward ")) for command in commands)


@pytest.mark.slow
def test_the_commands_for_a_federation_end_with_a_report_and_no_process(
    folder: Path, project_root: Path
) -> None:
    blocks = _blocks(project_root, _FEDERATION)
    environment = {"PATH": _path(), "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    with shell_at_terminal(blocks, folder, environment) as shell:
        status = shell.follow(_ANSWERS, _FEDERATION_SECONDS)
        assert status == 0, shell.said
        assert shell.left(60) == []
    named = _named_in_readme(project_root, "trial/")
    assert named
    assert [path for path in named if not (folder / path).is_file()] == []
    result = json.loads((folder / "trial" / "results" / "result.json").read_text())
    assert result["rounds_completed"] == 5
    assert result["privacy"]["mechanism"] == "per-site"


@pytest.mark.slow
@pytest.mark.real_data
def test_commands_with_data_leave_every_path_that_the_readme_names(
    folder: Path, project_root: Path, data_root: Path
) -> None:
    blocks = _blocks(project_root, _WITH_DATA)
    assert blocks
    for block in blocks:
        _run(block, folder, FEDWARD_DATA_ROOT=str(data_root))
    named = _paths_of_out(project_root)
    assert "result.json" in named
    assert [path for path in named if not (folder / "out" / "quick" / path).exists()] == []
