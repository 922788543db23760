"""Joining by two files: keys are made here, the answer is believed by one fingerprint."""

import stat
from pathlib import Path
from typing import Any

import pytest
from tests.client.enrolment.joined_site import Joined, site_in
from tests.common.consortium.applicants import invitation_of, online_invitation
from tests.common.consortium.consortium_office import (
    AUTHORITY,
    DAY,
    NOW,
    authority_of,
    certificate_of,
    key_of,
)
from tests.sudden_end import sudden_ends

from fedward_client.enrolment.accepted_members import accepted_members
from fedward_client.enrolment.joining import begin_joining, finish_joining, pending_request
from fedward_client.enrolment.membership_files import is_member, own_key
from fedward_client.site_policy import SitePolicy, read_policy
from fedward_client.site_settings import SiteSettings
from fedward_common.consortium.enrolment_answer import admitted, refused, waiting
from fedward_common.consortium.invitation import token_of
from fedward_common.errors import (
    ConfigurationError,
    FedwardError,
    LockedError,
    UnverifiedMessageError,
)
from fedward_common.file_lock import held_lock
from fedward_common.settings import from_table, read_toml


@pytest.fixture
def site(tmp_path: Path) -> Joined:
    return site_in(tmp_path / "home")


def code_of(site: Joined, answer: bytes, now: float = NOW) -> str:
    with pytest.raises(FedwardError) as caught:
        site.finish(answer, now)
    assert not is_member(site.home)
    return caught.value.code


def test_asking_makes_keys_settings_a_commented_policy_and_a_request(site: Joined) -> None:
    request = site.begin()
    assert request.words == site.asked().words()
    assert site.asked().key.raw == own_key(site.home).verifying_key.raw
    settings = from_table(SiteSettings, read_toml(site.home.settings_file))
    assert (settings.site, settings.consortium, settings.simulated) == ("alder", "harbour", False)
    assert read_policy(site.home) == SitePolicy()
    assert "# " in site.home.policy_file.read_text()
    assert not is_member(site.home)


def test_keys_and_token_are_for_their_owner_alone_and_in_no_file_that_is_sent(
    site: Joined,
) -> None:
    request = site.begin()
    for name in ("trust/site.key", "trust/node.key", "enrolment/invitation.txt", "split.key"):
        assert stat.S_IMODE((site.home.folder / name).stat().st_mode) == 0o600
    raw, invitation = own_key(site.home).to_raw(), site.invitation.key.to_raw()
    for secret in (raw, raw.hex().encode(), invitation, site.token.encode()):
        assert secret not in request.content


def test_asking_again_gives_the_same_request(site: Joined) -> None:
    first, again = site.begin(), site.begin()
    assert (again.content, again.words) == (first.content, first.words)
    assert pending_request(site.home.folder).content == first.content


def test_an_answer_makes_a_member_and_the_token_is_gone(site: Joined) -> None:
    site.join()
    assert is_member(site.home)
    assert site.home.authority_file.read_bytes() == AUTHORITY.der
    coordinator = (site.home.trust / "coordinator.pub").read_text()
    assert coordinator == key_of("coordinator").verifying_key.raw.hex()
    accepted = accepted_members(site.home)
    assert accepted is not None
    assert [one[0] for one in accepted.members] == ["alder", "birch", "coordinator"]
    assert "enrolment/invitation.txt" not in site.files()
    assert b'"membership":"joined"' in (site.home.folder / "audit.jsonl").read_bytes()


def test_what_the_hospital_wrote_before_stays(site: Joined) -> None:
    site.home.folder.mkdir()
    site.home.policy_file.write_text("[privacy]\nepsilon_total = 3.0\nepsilon_per_job = 2.0\n")
    site.home.settings_file.write_text('cohort = "chest"\ncache_quota_gigabytes = 5.0\n')
    site.join()
    assert read_policy(site.home).privacy.epsilon_total == 3.0
    settings = from_table(SiteSettings, read_toml(site.home.settings_file))
    assert (settings.cohort, settings.cache_quota_gigabytes) == ("chest", 5.0)


def test_the_coordinators_address_comes_with_the_token(site: Joined) -> None:
    site.invitation = online_invitation()
    site.begin()
    settings = from_table(SiteSettings, read_toml(site.home.settings_file))
    assert settings.coordinator_address == "coordinator.example:9443"


def test_the_same_answer_again_finds_the_site_a_member_and_changes_nothing(site: Joined) -> None:
    site.begin()
    answer = site.answer()
    site.finish(answer)
    before = site.files()
    site.finish(answer)
    assert site.files() == before
    with pytest.raises(ConfigurationError, match="no joining"):
        site.finish(site.answer())


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["", "x", token_of(invitation_of())[:-2]])
def test_a_text_that_is_no_token_makes_no_home(site: Joined, token: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        begin_joining(site.home.folder, token, cohort="main", now_seconds=NOW)
    assert caught.value.code == "TOKEN_MALFORMED"
    assert not site.home.folder.exists()


def test_an_expired_token_makes_no_home(site: Joined) -> None:
    with pytest.raises(UnverifiedMessageError) as caught:
        site.begin(now=NOW + 8 * DAY)
    assert caught.value.code == "TOKEN_EXPIRED"
    assert not site.home.folder.exists()


def test_the_coordinators_token_is_not_a_sites(site: Joined) -> None:
    with pytest.raises(ConfigurationError, match="coordinator"):
        site.begin(token_of(invitation_of("coordinator")))


def test_a_member_does_not_join_again(site: Joined) -> None:
    site.join()
    before = site.files()
    with pytest.raises(ConfigurationError, match="is a member"):
        site.begin()
    assert site.files() == before


def test_the_home_of_a_simulation_joins_nothing(site: Joined) -> None:
    site.home.folder.mkdir()
    site.home.settings_file.write_text("simulated = true\n")
    with pytest.raises(ConfigurationError, match="simulation"):
        site.begin()


def test_without_having_asked_there_is_no_answer_to_take(site: Joined, tmp_path: Path) -> None:
    other = site_in(tmp_path / "other")
    other.begin()
    answer = other.answer()
    with pytest.raises(FedwardError):
        finish_joining(site.home.folder, answer, now_seconds=NOW)
    assert not is_member(site.home)


def impostor() -> Any:
    return authority_of("harbour", key_of("impostor"))


def test_an_answer_of_another_authority_is_refused(site: Joined) -> None:
    site.begin()
    own = site.certificate()
    forged = admitted(authority=impostor().der, certificate=own.der, roster=site.roster(own))
    assert code_of(site, forged) == "ANSWER_AUTHORITY"


def test_an_answer_for_another_key_or_site_is_refused(site: Joined) -> None:
    site.begin()
    other = site.answer(key=key_of("other").verifying_key)
    assert code_of(site, other) == "ANSWER_CERTIFICATE"
    elsewhere = certificate_of("dogwood")
    signed = site.roster(site.certificate(), elsewhere)
    answer = admitted(authority=AUTHORITY.der, certificate=elsewhere.der, roster=signed)
    assert code_of(site, answer) == "ANSWER_CERTIFICATE"


def test_an_expired_certificate_makes_no_member(site: Joined) -> None:
    site.begin()
    assert code_of(site, site.answer(), now=NOW + 91 * DAY) == "CERT_EXPIRED"


def test_a_refusal_makes_no_member_and_waiting_changes_nothing(site: Joined) -> None:
    site.begin()
    before = site.files()
    assert code_of(site, refused("INVITATION_USED")) == "INVITATION_USED"
    assert finish_joining(site.home.folder, waiting(), now_seconds=NOW) is None
    assert site.files() == before


def test_a_damaged_answer_changes_nothing(site: Joined) -> None:
    site.begin()
    before, answer = site.files(), site.answer()
    for length in range(0, len(answer), 97):
        code_of(site, answer[:length])
    assert site.files() == before


def test_two_commands_at_once_are_told(site: Joined) -> None:
    site.begin()
    lock = site.home.folder / "enrolment" / ".lock"
    with held_lock(lock), pytest.raises(LockedError):
        site.finish()


# -- sudden ends -----------------------------------------------------------------------------------


def test_asking_may_be_killed_anywhere_and_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = 0
    for steps in sudden_ends(monkeypatch, lambda n: site_in(tmp_path / str(n)).begin()):
        ends += 1
        site = site_in(tmp_path / str(steps))
        key = site.home.trust / "site.key"
        before = key.read_bytes() if key.exists() else None
        site.join()
        assert before in (None, key.read_bytes())
    assert ends >= 10


def test_taking_the_answer_may_be_killed_anywhere_and_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(steps: int) -> None:
        site = site_in(tmp_path / str(steps))
        with pytest.MonkeyPatch.context() as undisturbed:
            undisturbed.setattr("os.fsync", lambda _: None)
            site.begin()
        answers[steps] = site.answer()
        site.finish(answers[steps])

    answers: dict[int, bytes] = {}
    ends = 0
    for steps in sudden_ends(monkeypatch, work):
        ends += 1
        site = site_in(tmp_path / str(steps))
        if (site.home.folder / "enrolment" / "invitation.txt").exists():
            site.finish(answers[steps])
        assert is_member(site.home)
        assert accepted_members(site.home) is not None
    assert ends >= 10


def test_another_consortium_is_joined_after_leaving_though_its_rosters_are_younger(
    site: Joined,
) -> None:
    from fedward_client.enrolment.leaving import leave

    site.version = 40
    site.join()
    leave(site.home.folder, now_seconds=NOW)
    site.version = 39
    site.begin()
    with pytest.raises(UnverifiedMessageError) as caught:
        site.finish()
    assert caught.value.code == "ROSTER_OLD"
    site.home.authority_file.write_bytes(impostor().der)  # as if it had left another one
    site.finish()
    assert is_member(site.home)
