"""A coordinator's home: its settings, the names of runs, and the runs that are not over."""

import stat
from pathlib import Path
from typing import Any

import pytest
from tests.tiny_federation import TinyFederation

from fedward_common.errors import ConfigurationError
from fedward_server.coordinator.coordinator_home import CoordinatorHome
from fedward_server.coordinator.open_runs import open_runs

SETTINGS = """host = "127.0.0.1"
port = 9092
certificate_file = "tls/server.crt"
certificate_key_file = "tls/server.key"
"""


@pytest.fixture
def home(tmp_path: Path) -> CoordinatorHome:
    made = CoordinatorHome(tmp_path)
    made.make_folders()
    return made


def write(home: CoordinatorHome, text: str) -> None:
    (home.folder / "coordinator.toml").write_text(text)


def test_settings_are_read_and_files_lie_below_the_home(home: CoordinatorHome) -> None:
    write(home, SETTINGS)
    settings = home.settings()
    assert (settings.host, settings.port, settings.loopback_port) == ("127.0.0.1", 9092, 0)
    assert home.file_of(settings.certificate_file) == home.folder / "tls" / "server.crt"
    assert home.file_of("/etc/tls.pem") == Path("/etc/tls.pem")
    assert settings.office == ""
    write(home, SETTINGS + 'office = "../office"\n')
    assert home.file_of(home.settings().office) == home.folder / "../office"


@pytest.mark.parametrize(
    "text",
    [
        "",
        SETTINGS.replace("9092", "70000"),
        SETTINGS + "prot = 1\n",
        SETTINGS.replace("9092", "-1"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(home: CoordinatorHome, text: str) -> None:
    write(home, text)
    with pytest.raises(ConfigurationError):
        home.settings()


def test_the_folders_are_for_their_owner_alone(home: CoordinatorHome) -> None:
    for folder in (home.nodes, home.runs, home.flower):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b", "é", "a\0b", "-/-", "."])
def test_a_name_that_is_no_plain_one_becomes_no_path(home: CoordinatorHome, name: str) -> None:
    with pytest.raises(ConfigurationError):
        home.run_folder(name)


def test_runs_that_are_not_over_are_found_and_a_damaged_one_is_told(
    home: CoordinatorHome, tiny: TinyFederation
) -> None:
    told: list[tuple[str, Any]] = []
    for name in ("b-begun", "a-new", "d-damaged"):
        tiny.set_up(home.runs / name)
    short = tiny.with_job("job.rounds=1", "evaluation.every=1")
    short.run(home.runs / "c-over")
    (home.runs / "d-damaged" / "entries.jsonl").write_text("no journal\n")
    (home.runs / "e-empty").mkdir()
    found = open_runs(home, lambda event, **fields: told.append((event, fields)))
    assert found == ["b-begun", "a-new"]  # as they were laid down
    assert [(event, fields["run"]) for event, fields in told] == [("run.unusable", "d-damaged")]
