"""Units in `deploy/systemd` start what is there, without root and with little that they may do."""

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest
import typer

from fedward_client.cli import app as site_app
from fedward_server.cli import app as fedward_app

UNITS = {"fedward-site.service": site_app, "fedward-coordinator.service": fedward_app}
HOMES = {"fedward-site": "FEDWARD_SITE_HOME", "fedward-coordinator": "FEDWARD_COORDINATOR_HOME"}
MOST_EXPOSURE = 20  # systemd-analyze counts tenths
ANALYZE = shutil.which("systemd-analyze")


class _Repeated(dict[str, str]):
    """Keeps every value of a key that is given several times, as systemd does."""

    def __setitem__(self, key: str, value: object) -> None:
        if isinstance(value, list) and key in self and isinstance(self[key], list):
            value = [*self[key], *value]
        super().__setitem__(key, value)  # type: ignore[assignment]


def unit_in(file: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(
        dict_type=_Repeated, strict=False, delimiters="=", interpolation=None,
        comment_prefixes=("#",), inline_comment_prefixes=None,
    )  # fmt: skip
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(file.read_text(encoding="utf-8"))
    return parser


@pytest.fixture
def folder(project_root: Path) -> Path:
    return project_root / "deploy" / "systemd"


def test_there_is_a_unit_for_each_daemon_and_nothing_else(folder: Path) -> None:
    found = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert found == {*UNITS, "fedward-site.service.d/gpu.conf"}


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_starts_a_command_that_is_there_with_a_home_that_it_reads(
    folder: Path, name: str
) -> None:
    service = unit_in(folder / name)["Service"]
    program, *words = service["ExecStart"].split()
    command = typer.main.get_command(UNITS[name])
    for word in words:
        assert isinstance(command, typer.core.TyperGroup)
        command = command.commands[word]
    assert Path(program).name == ("fedward" if "coordinator" in name else "fedward-site")
    account = service["User"]
    variable, _, home = service["Environment"].partition("=")
    assert variable == HOMES[account]
    assert variable in {
        str(one.envvar) for one in command.params if isinstance(one, typer.core.TyperOption)
    }
    assert home == f"/var/lib/{service['StateDirectory']}"


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_has_an_account_of_its_own_and_no_way_to_more(folder: Path, name: str) -> None:
    service = unit_in(folder / name)["Service"]
    assert service["User"] == service["Group"] == Path(name).stem
    for key, value in {
        "NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes",
        "UMask": "0077", "StateDirectoryMode": "0700", "Restart": "always",
        "RestrictSUIDSGID": "yes", "RestrictNamespaces": "yes",
    }.items():  # fmt: skip
        assert service[key] == value, key
    rights = "CAP_NET_BIND_SERVICE" if "coordinator" in name else ""
    assert service["CapabilityBoundingSet"] == service["AmbientCapabilities"] == rights


def test_cards_are_a_closed_list_of_devices(folder: Path) -> None:
    text = (folder / "fedward-site.service.d" / "gpu.conf").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("Device")]
    assert lines[0] == "DevicePolicy=closed"
    assert all(line.startswith("DeviceAllow=/dev/nvidia") for line in lines[1:])
    assert len(lines) > 3


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed here")
@pytest.mark.parametrize("with_cards", [False, True])
@pytest.mark.parametrize("name", UNITS)
def test_the_exposure_that_systemd_reckons_is_2_at_most(
    folder: Path, tmp_path: Path, name: str, with_cards: bool
) -> None:
    unit = Path(shutil.copy(folder / name, tmp_path))
    added = folder / f"{name}.d"
    if with_cards and added.is_dir():  # systemd takes what lies beside it
        shutil.copytree(added, tmp_path / added.name)
    ended = subprocess.run(
        [str(ANALYZE), "security", "--no-pager", "--offline=yes",
         f"--threshold={MOST_EXPOSURE}", str(unit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout[-400:] + ended.stderr
    assert "Overall exposure level" in ended.stdout
