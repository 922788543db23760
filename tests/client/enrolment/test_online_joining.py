"""Joining online: one request, asked again until a person at the office has decided."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.client.enrolment.joined_site import Joined, site_in
from tests.common.consortium.applicants import online_invitation
from tests.common.consortium.consortium_office import AUTHORITY, NOW

from fedward_client.enrolment.joining import Request
from fedward_client.enrolment.membership_files import is_member
from fedward_client.enrolment.online_joining import ASK_AGAIN_SECONDS, join_online
from fedward_client.site_settings import SiteSettings, connection_of
from fedward_common.consortium.enrolment_answer import Membership, refused, waiting
from fedward_common.consortium.tls_authority import pem_of_tls_authority
from fedward_common.errors import FedwardError, UnverifiedMessageError
from fedward_common.settings import from_table, read_toml


@pytest.fixture
def site(tmp_path: Path) -> Joined:
    site = site_in(tmp_path / "home")
    site.invitation = online_invitation()
    return site


class Office:
    """Answers in turn; the last answer stays."""

    def __init__(self, *answers: bytes | FedwardError) -> None:
        self.answers = list(answers)
        self.asked: list[bytes] = []
        self.waited: list[float] = []
        self.said: list[str] = []

    def send(self, request: bytes) -> bytes:
        self.asked.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, FedwardError):
            raise answer
        return answer

    def join(self, site: Joined, request: Request, *, waits: bool = True) -> Membership | None:
        wait: Callable[[float], None] | None = self.waited.append if waits else None
        return join_online(
            site.home, request, self.send, now_seconds=lambda: NOW, wait=wait, say=self.said.append
        )


def unreachable() -> FedwardError:
    return FedwardError("nobody there", code="OFFICE_UNREACHABLE")


def test_the_same_request_is_asked_again_until_somebody_decided(site: Joined) -> None:
    request = site.begin()
    office = Office(waiting(), waiting(), waiting(), site.answer())
    membership = office.join(site, request)
    assert membership is not None
    assert is_member(site.home)
    assert office.waited == [ASK_AGAIN_SECONDS] * 3
    assert set(office.asked) == {request.content}
    assert len(office.said) == 1


def test_who_does_not_wait_asks_once_and_may_ask_again(site: Joined) -> None:
    request = site.begin()
    assert Office(waiting()).join(site, request, waits=False) is None
    assert not is_member(site.home)
    assert Office(site.answer()).join(site, request, waits=False) is not None


def test_after_joining_nothing_is_left_to_be_placed_by_hand(site: Joined) -> None:
    request = site.begin()
    Office(site.answer()).join(site, request)
    settings = from_table(SiteSettings, read_toml(site.home.settings_file))
    connection = connection_of(settings, site.home.folder)
    assert connection.address == "coordinator.example:9443"
    assert connection.authority_file.read_bytes() == pem_of_tls_authority(AUTHORITY.der)


def test_a_way_of_its_own_that_a_hospital_set_stays(site: Joined) -> None:
    site.home.folder.mkdir()
    site.home.settings_file.write_text('coordinator_address = "gateway.example:443"\n')
    site.begin()
    settings = from_table(SiteSettings, read_toml(site.home.settings_file))
    assert settings.coordinator_address == "gateway.example:443"
    assert not (site.home.consortium / "coordinator-tls.pem").exists()


def test_a_coordinator_that_is_gone_for_a_while_is_told_once_and_asked_again(
    site: Joined,
) -> None:
    request = site.begin()
    office = Office(waiting(), unreachable(), unreachable(), site.answer())
    assert office.join(site, request) is not None
    assert len(office.said) == 2


def test_nobody_there_at_the_first_question_is_an_error(site: Joined) -> None:
    with pytest.raises(FedwardError) as caught:
        Office(unreachable()).join(site, site.begin())
    assert caught.value.code == "OFFICE_UNREACHABLE"


@pytest.mark.parametrize("code", ["INVITATION_USED", "INVITATION_EXPIRED", "INVITATION_TAKEN"])
def test_a_refusal_ends_the_waiting(site: Joined, code: str) -> None:
    office = Office(waiting(), refused(code))
    with pytest.raises(UnverifiedMessageError) as caught:
        office.join(site, site.begin())
    assert caught.value.code == code
    assert not is_member(site.home)


def test_an_answer_to_another_site_is_not_taken(site: Joined, tmp_path: Path) -> None:
    other = site_in(tmp_path / "other").join()
    with pytest.raises(UnverifiedMessageError) as caught:
        Office(other.answer()).join(site, site.begin())
    assert caught.value.code == "ANSWER_CERTIFICATE"
    assert not is_member(site.home)
