"""`fedward coordinator init`: a home that its own start takes, alone and as a member."""

import json
from pathlib import Path

import pytest
from tests.common.consortium.consortium_office import DAY, NOW
from tests.server.consortium.office_cases import PASSPHRASE, office_in

from fedward_common.consortium.certificates import read_authority
from fedward_common.consortium.roster import verify_roster
from fedward_common.errors import ConfigurationError
from fedward_server.consortium.desk import Desk
from fedward_server.coordinator.coordinator_home import CoordinatorHome
from fedward_server.coordinator.init_command import run_coordinator_init, run_renew_tls
from fedward_server.coordinator.office_link import OfficeLink
from fedward_server.coordinator.tls_certificate import days_left

EVERYWHERE = "0.0.0.0"  # noqa: S104


def desk_in(folder: Path, passphrase: bytes = PASSPHRASE.reveal()) -> Desk:
    office_in(folder / "office")
    file = folder / "passphrase"
    file.write_bytes(passphrase)
    file.chmod(0o600)
    return Desk(folder / "office", file, now_seconds=lambda: NOW)


def init(folder: Path, desk: Desk | None = None, host: str = "127.0.0.1", port: int = 8443) -> None:
    run_coordinator_init(
        folder, host=host, port=port, organisation="University", desk=desk, json_output=True,
        now_seconds=lambda: NOW,
    )  # fmt: skip


def test_a_home_has_settings_and_a_certificate_that_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = CoordinatorHome(tmp_path / "coordinator")
    init(home.folder)
    settings = home.settings()
    assert (settings.host, settings.port, settings.office) == ("127.0.0.1", 8443, "")
    left = days_left(home.file_of(settings.certificate_file), now_seconds=NOW)
    assert left == pytest.approx(398)
    assert home.file_of(settings.certificate_key_file).is_file()
    assert not home.key_file.exists()
    told = json.loads(capsys.readouterr().out)
    assert (told["address"], told["member"]) == ("https://127.0.0.1:8443", False)
    assert len(told["tls_authority_sha256"]) == 64


@pytest.mark.parametrize(
    ("host", "listens", "address"),
    [
        ("localhost", "127.0.0.1", "https://localhost:8443"),
        ("fedward.example.org", EVERYWHERE, "https://fedward.example.org:8443"),
        ("192.0.2.7", EVERYWHERE, "https://192.0.2.7:8443"),
        ("2001:db8::7", "::", "https://[2001:db8::7]:8443"),
        ("::1", "::1", "https://[::1]:8443"),
    ],
)
def test_a_host_of_loopback_listens_there_and_any_other_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], host: str, listens: str, address: str
) -> None:
    init(tmp_path / "coordinator", host=host)
    assert CoordinatorHome(tmp_path / "coordinator").settings().host == listens
    assert json.loads(capsys.readouterr().out)["address"] == address


def test_with_the_office_on_this_machine_it_is_a_member_at_once(tmp_path: Path) -> None:
    home, desk = CoordinatorHome(tmp_path / "coordinator"), desk_in(tmp_path)
    init(home.folder, desk)
    authority = read_authority(home.authority_file.read_bytes())
    roster = verify_roster(home.roster_file.read_bytes(), authority, now_seconds=NOW)
    assert [(one.site, one.organisation) for one in roster.entries] == [
        ("coordinator", "University")
    ]
    assert home.settings().office == "../office"
    office = home.file_of(home.settings().office)
    assert office.resolve() == desk.folder.resolve()
    from fedward_server.consortium.office_folder import Office

    OfficeLink(home, Office(office), lambda *_, **__: None, lambda: NOW).refresh()


def test_a_wrong_passphrase_leaves_neither_home_nor_invitation(tmp_path: Path) -> None:
    desk = desk_in(tmp_path, b"another passphrase")
    with pytest.raises(ConfigurationError) as caught:
        init(tmp_path / "coordinator", desk)
    assert caught.value.code == "PASSPHRASE_WRONG"
    assert list((tmp_path / "coordinator").iterdir()) == []
    from fedward_server.consortium.office_folder import Office

    assert Office(desk.folder).state().invitations == {}


def test_an_init_that_was_killed_can_be_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, desk = CoordinatorHome(tmp_path / "coordinator"), desk_in(tmp_path)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("fedward_server.coordinator.init_command.make_own_tls", killed)
        init(home.folder, desk)
    key = home.key_file.read_text()
    init(home.folder, desk)
    assert home.key_file.read_text() == key
    assert home.settings().office == "../office"


def test_a_home_with_settings_is_never_overwritten(tmp_path: Path) -> None:
    home = CoordinatorHome(tmp_path / "coordinator")
    init(home.folder)
    before = (home.folder / "tls" / "server.key").read_bytes()
    with pytest.raises(ConfigurationError, match="already"):
        init(home.folder)
    assert (home.folder / "tls" / "server.key").read_bytes() == before


def test_the_next_certificate_is_made_in_the_home(tmp_path: Path) -> None:
    home = CoordinatorHome(tmp_path / "coordinator")
    init(home.folder)
    later = NOW + 390 * DAY
    run_renew_tls(home.folder, now_seconds=lambda: later)
    left = days_left(home.file_of(home.settings().certificate_file), now_seconds=later)
    assert left == pytest.approx(398)


def test_what_is_no_host_makes_no_home(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        init(tmp_path / "coordinator", host=EVERYWHERE)
    assert not (tmp_path / "coordinator").exists()
