"""The daemon keeps a membership going: in time, told by codes, without a person at the site."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.client.enrolment.joined_site import END, OTHERS, Joined, site_in
from tests.common.consortium.consortium_office import DAY, NOW, key_of
from tests.tiny_federation import FakeClock

from fedward_client.enrolment.accepted_members import newest_members
from fedward_client.enrolment.membership_display import membership_lines, plain_membership
from fedward_client.enrolment.membership_files import own_certificate
from fedward_client.enrolment.upkeep import (
    RENEWAL_SECONDS,
    ROSTER_SECONDS,
    WAITS,
    Upkeep,
    membership_status,
    read_upkeep,
)
from fedward_common.consortium.enrolment_answer import present_roster, refused, waiting
from fedward_common.consortium.node_news import is_news_request, make_news
from fedward_common.consortium.roster_request import is_roster_request
from fedward_common.errors import FedwardError

DUE = NOW + 60 * DAY
Answer = Callable[[], bytes]


class Daemon:
    """A member's daemon, its clocks, and an office that answers as a test says."""

    def __init__(self, folder: Path) -> None:
        self.site = site_in(folder / "home").join()
        self.clock = FakeClock()
        self.now = float(NOW)
        self.on_renewal: Answer = waiting
        self.on_roster: Answer = lambda: present_roster(b"")
        self.on_news: Callable[[bytes], bytes] = lambda request: refused("MALFORMED_MESSAGE")
        self.sent: list[bytes] = []
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self.upkeep = Upkeep(self.site.home, self._send, self._tell, self.clock, lambda: self.now)

    def _send(self, request: bytes) -> bytes:
        if is_news_request(request):
            return self.on_news(request)
        self.sent.append(request)
        return self.on_roster() if is_roster_request(request) else self.on_renewal()

    def _tell(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    @property
    def renewals(self) -> list[bytes]:
        return [one for one in self.sent if not is_roster_request(one)]

    def pass_seconds(self, seconds: float) -> None:
        """Let the daemon look every half a minute."""
        for _ in range(int(seconds // 30)):
            self.clock.now += 30
            self.now += 30
            self.upkeep.tick()

    def events(self) -> list[str]:
        return [event for event, _ in self.lines]

    def shown(self) -> str:
        status = membership_status(self.site.home, now_seconds=self.now)
        return "\n".join(membership_lines(plain_membership(status)))


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    return Daemon(tmp_path)


def next_answer(site: Joined) -> bytes:
    return site.answer(not_before_seconds=DUE, not_after_seconds=DUE + 90 * DAY)


def unreachable() -> bytes:
    raise FedwardError("nobody there", code="OFFICE_UNREACHABLE")


def test_nothing_is_asked_for_before_two_thirds_of_the_life(daemon: Daemon) -> None:
    daemon.now = DUE - 600.0
    daemon.pass_seconds(570)
    assert daemon.renewals == []
    daemon.pass_seconds(120)
    assert len(set(daemon.renewals)) == 1


def test_a_renewal_is_asked_for_waited_for_and_taken_without_anything_else_changing(
    daemon: Daemon,
) -> None:
    daemon.now = float(DUE)
    accepted = daemon.site.files()["consortium/accepted-members.json"]
    daemon.pass_seconds(3600)
    assert daemon.events() == ["certificate.waits"]
    assert read_upkeep(daemon.site.home).renewal == WAITS
    assert "waits at the office" in daemon.shown()
    daemon.on_renewal = lambda: next_answer(daemon.site)
    daemon.pass_seconds(RENEWAL_SECONDS)
    assert daemon.lines[1][0] == "certificate.renewed"
    _, own = own_certificate(daemon.site.home, now_seconds=daemon.now)
    assert own.not_after_seconds == DUE + 90 * DAY
    assert read_upkeep(daemon.site.home).renewal == ""
    assert daemon.site.files()["consortium/accepted-members.json"] == accepted
    asked = len(daemon.renewals)
    daemon.pass_seconds(3600)
    assert len(daemon.renewals) == asked
    assert "waits" not in daemon.shown()


def test_a_refusal_is_told_once_by_its_code_and_shown_until_it_is_mended(daemon: Daemon) -> None:
    daemon.now = float(DUE)
    daemon.on_renewal = lambda: refused("NOT_A_MEMBER")
    daemon.pass_seconds(1800)
    assert daemon.lines == [("certificate.unrenewed", {"code": "NOT_A_MEMBER"})]
    assert "fails since" in daemon.shown()
    assert "NOT_A_MEMBER" in daemon.shown()
    daemon.on_renewal = lambda: next_answer(daemon.site)
    daemon.pass_seconds(RENEWAL_SECONDS)
    assert "NOT_A_MEMBER" not in daemon.shown()


def test_an_answer_that_is_not_to_be_believed_is_a_code_and_leaves_the_certificate(
    daemon: Daemon,
) -> None:
    daemon.now = float(DUE)
    replayed = daemon.site.answer(not_after_seconds=END - DAY)
    answers = [b"", b"\xff" * 100, replayed, next_answer(daemon.site)[:-1]]
    daemon.on_renewal = lambda: answers.pop(0)
    daemon.pass_seconds(RENEWAL_SECONDS * len(answers))
    assert answers == []
    assert own_certificate(daemon.site.home, now_seconds=None)[1].not_after_seconds == END
    codes = [fields["code"] for _, fields in daemon.lines]
    assert codes == ["MALFORMED_MESSAGE", "ANSWER_OLDER", "MALFORMED_MESSAGE"]


def test_a_renewal_that_is_late_is_told_once_a_day_and_shown(daemon: Daemon) -> None:
    daemon.now = float(END - 13 * DAY)
    daemon.on_renewal = unreachable
    daemon.pass_seconds(3600)
    late = [fields for event, fields in daemon.lines if event == "certificate.late"]
    assert late == [{"days": 13.0, "code": "OFFICE_UNREACHABLE"}]
    daemon.now += DAY
    daemon.pass_seconds(3600)
    assert daemon.events().count("certificate.late") == 2
    assert "THE RENEWAL IS LATE" in daemon.shown()
    daemon.now = float(END + DAY)
    daemon.pass_seconds(60)
    assert "THE CERTIFICATE ENDED" in daemon.shown()


def test_a_daemon_that_starts_after_the_end_still_renews(daemon: Daemon) -> None:
    daemon.now = float(END + DAY)
    daemon.on_renewal = lambda: next_answer(daemon.site)
    daemon.upkeep.tick()
    assert own_certificate(daemon.site.home, now_seconds=daemon.now)[1].site == "alder"


def test_a_removal_is_taken_at_the_next_look_and_asked_for_no_more(daemon: Daemon) -> None:
    daemon.site.others, daemon.site.version = (OTHERS[1],), 3
    signed = daemon.site.roster(daemon.site.certificate())
    daemon.on_roster = lambda: present_roster(signed)
    daemon.pass_seconds(ROSTER_SECONDS)
    assert daemon.lines == [("roster.removed", {"version": 3, "sites": ["birch"]})]
    newest = newest_members(daemon.site.home)
    assert newest is not None
    assert newest.version == 3
    daemon.pass_seconds(600)
    assert len(daemon.lines) == 1


def test_no_news_of_the_roster_is_told_once_and_shown(daemon: Daemon) -> None:
    daemon.on_roster = unreachable
    daemon.pass_seconds(600)
    assert daemon.lines == [("roster.unknown", {"code": "OFFICE_UNREACHABLE"})]
    assert "No news of the roster" in daemon.shown()
    daemon.on_roster = lambda: present_roster(b"")
    daemon.pass_seconds(ROSTER_SECONDS)
    assert "No news" not in daemon.shown()


def test_a_home_that_is_no_member_is_a_code_and_no_end_of_the_daemon(daemon: Daemon) -> None:
    daemon.site.home.certificate_file.unlink()
    daemon.upkeep.tick()
    assert {fields["code"] for _, fields in daemon.lines} == {"NO_CERTIFICATE"}
    assert daemon.sent == []
    assert "No member" in daemon.shown()


def test_a_fault_nobody_thought_of_is_told_and_tried_again(daemon: Daemon) -> None:
    def broken() -> bytes:
        raise RuntimeError("a text that may quote anything")

    daemon.on_roster = broken
    daemon.pass_seconds(ROSTER_SECONDS)
    assert daemon.lines == [("membership.unkept", {"code": "RuntimeError"})]
    daemon.on_roster = lambda: present_roster(b"")
    daemon.pass_seconds(ROSTER_SECONDS)
    assert len(daemon.lines) == 1


def test_a_damaged_record_says_nothing(daemon: Daemon) -> None:
    (daemon.site.home.folder / "enrolment" / "upkeep.json").write_text('{"renewal": 3}')
    assert read_upkeep(daemon.site.home).renewal == ""


class DuplicateAt:
    """A coordinator that says when another machine showed a site's key."""

    def __init__(self, at: float, signer: str = "coordinator") -> None:
        self.at, self.signer = at, signer
        self.asked: set[bytes] = set()

    def __call__(self, request: bytes) -> bytes:
        self.asked.add(request)
        return make_news(
            key_of(self.signer), consortium="harbour", site="alder", request=request,
            duplicate_seconds=int(self.at),
        )  # fmt: skip


def audit_of(daemon: Daemon) -> list[dict[str, Any]]:
    text = (daemon.site.home.folder / "audit.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    return [line for line in lines if line.get("membership") == "node.duplicate"]


def test_another_machine_with_the_sites_key_is_told_shown_and_audited_once(
    daemon: Daemon,
) -> None:
    """F22: the first of two is told of the second."""
    coordinator = daemon.on_news = DuplicateAt(0)
    daemon.pass_seconds(ROSTER_SECONDS)
    assert daemon.lines == []
    assert "ANOTHER MACHINE" not in daemon.shown()
    coordinator.at = daemon.now
    daemon.pass_seconds(600)
    told = ("node.duplicate", {"code": "NODE_DUPLICATE", "at_seconds": int(coordinator.at)})
    assert daemon.lines == [told]
    assert "ANOTHER MACHINE SHOWED THIS SITE'S KEY" in daemon.shown()
    assert "NODE_DUPLICATE" in daemon.shown()
    (entry,) = audit_of(daemon)
    assert (entry["at_seconds"], entry["code"]) == (int(coordinator.at), "NODE_DUPLICATE")
    assert len(coordinator.asked) == 11  # no question is asked twice


def test_a_copy_that_tries_on_is_told_once_an_hour(daemon: Daemon) -> None:
    coordinator = daemon.on_news = DuplicateAt(0)
    for _ in range(5 * 60):
        coordinator.at = daemon.now
        daemon.pass_seconds(60)
    assert 4 <= len(daemon.lines) <= 5
    assert len(audit_of(daemon)) == len(daemon.lines)
    assert read_upkeep(daemon.site.home).duplicate_at_seconds == int(coordinator.at)


@pytest.mark.parametrize(
    "answer",
    [DuplicateAt(NOW, "alder"), DuplicateAt(NOW, "thief"), lambda _: unreachable(),
     lambda _: refused("MALFORMED_MESSAGE"), lambda _: b""],
)  # fmt: skip
def test_nobody_but_the_coordinator_raises_that_alarm(
    daemon: Daemon, answer: Callable[[bytes], bytes]
) -> None:
    daemon.on_news = answer
    daemon.pass_seconds(600)
    assert daemon.lines == []
    assert audit_of(daemon) == []
