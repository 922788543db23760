"""The office on disk: one line a change, whatever ends in the middle, whoever comes at once."""

import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.common.consortium.consortium_office import NOW, counted_entropy, key_of
from tests.server.consortium.office_cases import (
    PASSPHRASE,
    admitted_to,
    invited,
    join_bytes,
    join_request,
    office_in,
)
from tests.sudden_end import sudden_ends

from fedward_common.consortium.invitation import Invitation
from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.errors import ConfigurationError, CorruptFileError, UnverifiedMessageError
from fedward_server.consortium.issuing import Authority
from fedward_server.consortium.office_events import Admitted, Invited
from fedward_server.consortium.office_folder import Office
from fedward_server.consortium.office_rules import admit, invite
from fedward_server.consortium.office_state import OfficeState


def invitation_from(office: Office, site: str) -> Invitation:
    given: list[Invitation] = []

    def decide(state: OfficeState) -> Invited:
        event, invitation = invite(
            state, site=site, organisation=f"{site} hospital",
            role="coordinator" if site == "coordinator" else "site", days=7, address="",
            now_seconds=NOW, entropy=counted_entropy,
        )  # fmt: skip
        given.append(invitation)
        return event

    office.change(decide)
    return given[0]


def approve(
    office: Office, authority: Authority, invitation: Invitation, key_name: str = ""
) -> OfficeState:
    request = join_request(invitation, key_of(key_name or invitation.site))

    def decide(state: OfficeState) -> Admitted | None:
        return admit(
            state, authority, request, site=invitation.site, now_seconds=NOW,
            entropy=counted_entropy,
        )  # fmt: skip

    return office.change(decide)[0]


def test_what_happened_is_there_for_the_next_command(tmp_path: Path) -> None:
    office = office_in(tmp_path / "office")
    authority = office.open_authority(office.state(), PASSPHRASE)
    for site in ("coordinator", "alder"):
        approve(office, authority, invitation_from(office, site))
    state = Office(tmp_path / "office").state()
    assert set(state.members) == {"coordinator", "alder"}
    assert state.roster_version == 2
    assert state.consortium == "harbour"


def test_only_the_owner_reads_the_office_and_no_secret_of_it_rests_in_clear(tmp_path: Path) -> None:
    office = office_in(tmp_path / "office")
    invitation = invitation_from(office, "alder")
    key = office.open_authority(office.state(), PASSPHRASE).key
    secrets = [invitation.key.to_raw(), key.to_raw(), PASSPHRASE.reveal()]
    for file in (tmp_path / "office").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        content = file.read_bytes()
        assert not any(secret in content or secret.hex().encode() in content for secret in secrets)
    assert stat.S_IMODE((tmp_path / "office").stat().st_mode) == 0o700


def test_another_passphrase_opens_nothing(tmp_path: Path) -> None:
    office = office_in(tmp_path / "office")
    with pytest.raises(ConfigurationError) as caught:
        office.open_authority(office.state(), SecretBytes(b"five words somebody guessed"))
    assert caught.value.code == "PASSPHRASE_WRONG"


def test_a_changed_key_file_opens_nothing(tmp_path: Path) -> None:
    office = office_in(tmp_path / "office")
    content = office.key_file.read_bytes()
    for at in range(0, len(content), 7):
        changed = bytearray(content)
        changed[at] ^= 4
        office.key_file.write_bytes(bytes(changed))
        with pytest.raises((ConfigurationError, CorruptFileError)):
            office.open_authority(office.state(), PASSPHRASE)


def test_the_key_of_another_office_is_found_out(tmp_path: Path) -> None:
    office, other = office_in(tmp_path / "office"), office_in(tmp_path / "other")
    other.key_file.replace(office.key_file)
    with pytest.raises(CorruptFileError):
        office.open_authority(office.state(), PASSPHRASE)
    office.key_file.unlink()
    with pytest.raises(CorruptFileError):
        office.open_authority(office.state(), PASSPHRASE)


@pytest.mark.parametrize("spoil", ["harbour", '"roster_days":30', "founded"])
def test_a_register_that_was_edited_is_refused(tmp_path: Path, spoil: str) -> None:
    office = office_in(tmp_path / "office")
    invitation_from(office, "alder")
    text = office.register_file.read_text()
    assert spoil in text
    office.register_file.write_text(text.replace(spoil, "X" * len(spoil), 1))
    with pytest.raises(CorruptFileError):
        office.state()


def test_an_office_is_not_made_twice_nor_over_one_that_lost_its_register(tmp_path: Path) -> None:
    office = office_in(tmp_path / "office")
    with pytest.raises(ConfigurationError, match="already"):
        office_in(tmp_path / "office")
    office.register_file.unlink()
    with pytest.raises(ConfigurationError, match="gone"):
        office_in(tmp_path / "office")
    with pytest.raises(ConfigurationError, match="no office"):
        Office(tmp_path / "office")


def test_an_office_whose_making_was_killed_anywhere_is_there_or_can_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = 0
    for steps in sudden_ends(monkeypatch, lambda n: office_in(tmp_path / str(n))):
        ends += 1
        folder = tmp_path / str(steps)
        try:
            office = Office(folder)
            state = office.state()
        except ConfigurationError:
            office = office_in(folder)
            state = office.state()
        assert office.open_authority(state, PASSPHRASE).certificate.consortium == "harbour"
    assert ends >= 4


def test_a_change_that_was_killed_anywhere_happened_wholly_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[int, tuple[Office, Authority, Invitation]] = {}

    def work(steps: int) -> None:
        with pytest.MonkeyPatch.context() as undisturbed:
            undisturbed.setattr("os.fsync", lambda _: None)
            office = office_in(tmp_path / str(steps))
            authority = office.open_authority(office.state(), PASSPHRASE)
            approve(office, authority, invitation_from(office, "coordinator"))
            made[steps] = office, authority, invitation_from(office, "alder")
        approve(*made[steps])

    for steps in sudden_ends(monkeypatch, work):
        office, authority, invitation = made[steps]
        assert office.state().roster_version in (1, 2)
        state = approve(office, authority, invitation)
        assert (state.roster_version, set(state.members)) == (2, {"alder", "coordinator"})
    assert len(made) >= 2


def test_a_line_that_was_cut_short_never_happened(tmp_path: Path) -> None:
    office = office_in(tmp_path / "office")
    before = office.state()
    whole = office.register_file.read_bytes()
    invitation_from(office, "alder")
    line = office.register_file.read_bytes()[len(whole) :]
    for length in range(len(line)):
        office.register_file.write_bytes(whole + line[:length])
        assert office.state() == before


_RACER = """
import sys
from pathlib import Path
from tests.common.consortium.consortium_office import NOW, key_of
from tests.server.consortium.office_cases import PASSPHRASE, join_request
from tests.server.consortium.test_office_folder import approve
from fedward_common.consortium.invitation import parse_token
from fedward_common.errors import UnverifiedMessageError
from fedward_server.consortium.office_folder import Office

office = Office(Path(sys.argv[1]))
authority = office.open_authority(office.state(), PASSPHRASE)
invitation = parse_token(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
try:
    approve(office, authority, invitation, sys.argv[3])
    print("admitted")
except UnverifiedMessageError as error:
    print(error.code)
"""


def test_of_two_processes_with_one_token_one_is_admitted(
    tmp_path: Path, project_root: Path
) -> None:
    from fedward_common.consortium.invitation import token_of

    office = office_in(tmp_path / "office")
    authority = office.open_authority(office.state(), PASSPHRASE)
    approve(office, authority, invitation_from(office, "coordinator"))
    token = token_of(invitation_from(office, "alder"))
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", _RACER, str(office.folder), token, name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=project_root,
        )
        for name in ("one", "two")
    ]  # fmt: skip
    for racer in racers:
        if racer.stdout is None or racer.stdin is None:
            raise AssertionError
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        if racer.stdin is not None:
            racer.stdin.write("\n")
            racer.stdin.flush()
    outcomes = sorted(racer.communicate(timeout=60)[0].strip() for racer in racers)
    assert outcomes == ["INVITATION_USED", "admitted"]
    assert office.state().roster_version == 2


def test_a_listener_keeps_a_request_before_its_answer_leaves(tmp_path: Path) -> None:
    office = office_in(tmp_path / "office")
    request = join_bytes(invitation_from(office, "alder"))
    first, again = office.answer(request, now_seconds=NOW), office.answer(request, now_seconds=NOW)
    assert first == again
    assert office.register_file.read_bytes().count(b"\n") == 3
    (invitation,) = Office(office.folder).state().invitations.values()
    assert invitation.waiting == request


def test_a_lower_state_is_never_written_over(tmp_path: Path) -> None:
    office = office_in(tmp_path / "office")

    def fail(state: OfficeState) -> Any:
        raise UnverifiedMessageError("no", code="INVITATION_USED")

    before = office.register_file.read_bytes()
    with pytest.raises(UnverifiedMessageError):
        office.change(fail)
    assert office.register_file.read_bytes() == before


def test_events_are_read_as_they_were_written() -> None:
    from fedward_server.consortium.office_events import event_in, line_of

    state, invitation = invited(admitted_to_nobody(), "alder")
    assert state.invitations
    event = Invited(NOW, invitation.key.verifying_key.raw, "alder", "a", "site", NOW + 1)
    assert event_in(line_of(event) | {"index": 0, "previous": ""}) == event


def admitted_to_nobody() -> OfficeState:
    from tests.server.consortium.office_cases import founded

    return admitted_to(founded(), "coordinator")
