"""The next certificate: due at two thirds, for the same key, and nothing else changes."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.client.enrolment.joined_site import END, Joined, site_in
from tests.common.consortium.consortium_office import DAY, NOW, certificate_of, key_of
from tests.sudden_end import sudden_ends

from fedward_client.enrolment.membership_files import own_certificate
from fedward_client.enrolment.renewal import (
    renew_if_due,
    take_renewal,
    write_renewal_request,
)
from fedward_common.consortium.certificates import is_renewal_due
from fedward_common.consortium.enrolment_answer import refused, waiting
from fedward_common.consortium.enrolment_request import RenewalRequest, read_request
from fedward_common.errors import ConfigurationError, FedwardError, UnverifiedMessageError

DUE = NOW + 60 * DAY
NEXT_END = DUE + 90 * DAY


@pytest.fixture
def site(tmp_path: Path) -> Joined:
    return site_in(tmp_path / "home").join()


def next_answer(site: Joined) -> bytes:
    return site.answer(not_before_seconds=DUE, not_after_seconds=NEXT_END)


def end_of(site: Joined) -> int:
    return own_certificate(site.home, now_seconds=None)[1].not_after_seconds


def test_a_renewal_is_due_at_two_thirds_of_the_life() -> None:
    certificate = certificate_of(not_before_seconds=NOW, not_after_seconds=END)
    assert not is_renewal_due(certificate, now_seconds=NOW + 60 * DAY - 1)
    assert is_renewal_due(certificate, now_seconds=NOW + 60 * DAY)


@given(days=st.integers(1, 300), share=st.floats(0, 2))
def test_it_is_due_from_some_moment_on_and_before_the_end(days: int, share: float) -> None:
    end = NOW + days * DAY
    certificate = certificate_of(not_before_seconds=NOW, not_after_seconds=end)
    now = NOW + share * (end - NOW)
    if is_renewal_due(certificate, now_seconds=now):
        assert is_renewal_due(certificate, now_seconds=now + 1)
    assert not is_renewal_due(certificate, now_seconds=NOW)
    assert is_renewal_due(certificate, now_seconds=end)


def test_the_request_names_the_certificate_it_follows_and_is_the_same_until_answered(
    site: Joined,
) -> None:
    first = write_renewal_request(site.home)
    assert write_renewal_request(site.home) == first
    request = read_request(first)
    assert isinstance(request, RenewalRequest)
    present = site.home.certificate_file.read_bytes()
    assert request.certificate_sha256 == hashlib.sha256(present).digest()
    assert (request.site, request.consortium) == ("alder", "harbour")


def test_a_daemon_asks_when_it_is_due_waits_and_takes_the_answer(site: Joined) -> None:
    sent: list[bytes] = []
    answers = [waiting(), waiting(), next_answer(site)]

    def send(request: bytes) -> bytes:
        sent.append(request)
        return answers[len(sent) - 1]

    before = site.files()["consortium/accepted-members.json"]
    assert renew_if_due(site.home, send, now_seconds=DUE - 1) == "not due"
    steps = [renew_if_due(site.home, send, now_seconds=DUE + day * DAY) for day in range(4)]
    assert steps == ["waiting", "waiting", "renewed", "not due"]
    assert len(set(sent)) == 1
    assert end_of(site) == NEXT_END
    assert site.files()["consortium/accepted-members.json"] == before


def test_a_certificate_whose_time_is_over_is_renewed_too(site: Joined) -> None:
    late = END + DAY
    answer = site.answer(not_before_seconds=NOW + DAY, not_after_seconds=late + 90 * DAY)
    assert renew_if_due(site.home, lambda _: answer, now_seconds=late) == "renewed"
    assert own_certificate(site.home, now_seconds=late)[1].site == "alder"


def test_an_answer_that_is_not_to_be_believed_leaves_the_certificate(site: Joined) -> None:
    before = site.home.certificate_file.read_bytes()
    write_renewal_request(site.home)
    spoiled = (
        site.answer(key=key_of("thief").verifying_key),
        site.answer(organisation="another house"),
        site.answer(not_after_seconds=END - DAY),
        refused("NOT_A_MEMBER"),
        waiting(),
        b"",
        next_answer(site)[:-1],
    )
    for answer in spoiled:
        with pytest.raises(FedwardError):
            take_renewal(site.home, answer, now_seconds=DUE)
    assert site.home.certificate_file.read_bytes() == before


def test_an_older_answer_is_named(site: Joined) -> None:
    take_renewal(site.home, next_answer(site), now_seconds=DUE)
    with pytest.raises(UnverifiedMessageError) as caught:
        take_renewal(site.home, site.answer(), now_seconds=DUE)
    assert caught.value.code == "ANSWER_OLDER"


def test_the_same_answer_twice_is_noted_once(site: Joined) -> None:
    answer = next_answer(site)
    take_renewal(site.home, answer, now_seconds=DUE)
    take_renewal(site.home, answer, now_seconds=DUE)
    assert site.files()["audit.jsonl"].count(b"renewed") == 1


def test_who_is_no_member_renews_nothing(tmp_path: Path) -> None:
    site = site_in(tmp_path / "home")
    site.begin()
    with pytest.raises(ConfigurationError) as caught:
        write_renewal_request(site.home)
    assert caught.value.code == "NO_CERTIFICATE"


def test_taking_a_renewal_may_be_killed_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(steps: int) -> None:
        with pytest.MonkeyPatch.context() as undisturbed:
            undisturbed.setattr("os.fsync", lambda _: None)
            site = site_in(tmp_path / str(steps)).join()
            write_renewal_request(site.home)
        take_renewal(site.home, next_answer(site), now_seconds=DUE)

    for steps in sudden_ends(monkeypatch, work):
        site = site_in(tmp_path / str(steps))
        assert end_of(site) in (END, NEXT_END)
        take_renewal(site.home, next_answer(site), now_seconds=DUE)
        assert end_of(site) == NEXT_END
