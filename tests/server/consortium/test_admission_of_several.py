"""`fedward consortium approve` for several: each hospital's words are compared by themselves."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.common.consortium.consortium_office import NOW, counted_entropy, key_of
from tests.server.consortium.office_cases import (
    PASSPHRASE,
    join_bytes,
    join_request,
    office_in,
)
from typer.testing import CliRunner

from fedward_common.consortium.invitation import Invitation
from fedward_common.errors import ConfigurationError, StoppedError
from fedward_server.consortium.admission_command import run_approve, run_approve_waiting
from fedward_server.consortium.cli_group import consortium_app
from fedward_server.consortium.desk import Desk
from fedward_server.consortium.office_events import Invited
from fedward_server.consortium.office_folder import Office
from fedward_server.consortium.office_rules import admit, invite
from fedward_server.consortium.office_state import OfficeState


@dataclass
class Person:
    """Answers for the person at the office, and remembers how often somebody asked."""

    answers: list[bool]
    asked: int = 0

    def ask(self, question: str) -> bool:
        assert "eight words" in question
        self.asked += 1
        return self.answers[self.asked - 1]


@dataclass
class Case:
    folder: Path
    office: Office = field(init=False)

    def __post_init__(self) -> None:
        self.office = office_in(self.folder / "office")
        (self.folder / "passphrase").write_bytes(PASSPHRASE.reveal())
        (self.folder / "passphrase").chmod(0o600)
        key = self.office.open_authority(self.office.state(), PASSPHRASE)
        request = join_request(self.invite("coordinator"))
        self.office.change(
            lambda state: admit(
                state, key, request, site="coordinator", now_seconds=NOW, entropy=counted_entropy
            )
        )

    def invite(self, site: str) -> Invitation:
        given: list[Invitation] = []

        def decide(state: OfficeState) -> Invited:
            event, invitation = invite(
                state, site=site, organisation=f"{site} hospital",
                role="coordinator" if site == "coordinator" else "site", days=7, address="",
                now_seconds=NOW, entropy=counted_entropy,
            )  # fmt: skip
            given.append(invitation)
            return event

        self.office.change(decide)
        return given[0]

    def ask_online(self, site: str) -> None:
        self.office.answer(join_bytes(self.invite(site)), now_seconds=NOW)

    def desk(self, person: Person | None) -> Desk:
        ask = person.ask if person else None
        return Desk(
            self.folder / "office", self.folder / "passphrase", now_seconds=lambda: NOW, ask=ask
        )

    def members(self) -> list[str]:
        return sorted(self.office.state().members)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_all_who_wait_are_admitted_once_the_words_of_each_were_compared(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    for site in ("south", "north"):
        case.ask_online(site)
    case.invite("river")  # invited, and has not asked
    person = Person([True, True])
    run_approve_waiting(case.desk(person), None)
    assert person.asked == 2
    assert case.members() == ["coordinator", "north", "south"]
    assert case.office.state().roster_version == 3
    told = capsys.readouterr().err
    for site in ("north", "south"):
        invitation = next(
            one for one in case.office.state().invitations.values() if one.site == site
        )
        assert invitation.answered_sha256
        assert f"Request of '{site}'" in told


def test_whose_words_differ_waits_and_the_others_are_admitted(case: Case) -> None:
    for site in ("north", "south"):
        case.ask_online(site)
    with pytest.raises(StoppedError, match="not admitted: north"):
        run_approve_waiting(case.desk(Person([False, True])), ["north", "south"])
    assert case.members() == ["coordinator", "south"]
    run_approve_waiting(case.desk(Person([True])), None)
    assert case.members() == ["coordinator", "north", "south"]


def test_without_a_person_nobody_is_admitted(case: Case) -> None:
    case.ask_online("north")
    with pytest.raises(ConfigurationError) as caught:
        run_approve_waiting(case.desk(None), None)
    assert caught.value.code == "FINGERPRINT_NOT_COMPARED"
    assert case.members() == ["coordinator"]


@pytest.mark.parametrize("sites", [None, ["north"]])
def test_where_no_request_waits_it_says_so(case: Case, sites: list[str] | None) -> None:
    case.invite("north")
    with pytest.raises(ConfigurationError, match="no request"):
        run_approve_waiting(case.desk(Person([])), sites)


def test_a_site_that_was_invited_anew_is_admitted_by_its_newest_request(case: Case) -> None:
    # Two keys came with the first token, so the office invited again.
    case.office.answer(join_bytes(case.invite("north"), key_of("stranger")), now_seconds=NOW)
    case.ask_online("north")
    run_approve(case.desk(Person([True])), "north", request_file=None, out=None, fingerprint=None)
    assert case.office.state().members["north"].key == key_of("north").verifying_key.raw


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("north", "--all"),
        ("--all", "--fingerprint", "acorn actor"),
        ("north", "south", "--request", "request.cbor"),
    ],
)
def test_several_are_named_or_all_and_share_no_words_and_no_file(
    case: Case, arguments: tuple[str, ...]
) -> None:
    home = ("--home", str(case.folder / "office"))
    ended = CliRunner().invoke(consortium_app, ["approve", *arguments, *home])
    assert ended.exit_code == 2
    assert "Invalid value" in ended.output
