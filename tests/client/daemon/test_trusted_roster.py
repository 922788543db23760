"""Which roster a site believes: its own authority's, the manifest's, with itself in it, and new."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.client.daemon.asked_site import SITE, Answered, Coordinator
from tests.tiny_federation import TinyFederation

from fedward_client.daemon.site_state import forget_open_sites, open_site
from fedward_client.daemon.site_work import layout_of_step
from fedward_client.enrolment.accepted_members import accept_waiting
from fedward_client.site_home import SiteHome
from fedward_common.consortium.certificates import (
    SiteCertificate,
    issue_certificate,
    make_authority,
    read_authority,
)
from fedward_common.consortium.roster import certificates_of_roster, make_roster
from fedward_common.crypto.signing import SigningKey
from fedward_common.secagg.layout import evaluation_layout
from fedward_common.wire import messages
from fedward_common.wire.canonical_cbor import decode_canonically
from fedward_common.wire.manifest import encode_manifest
from fedward_server.coordinator.run_setup import RunSetup
from fedward_server.simulation.throwaway_consortium import private_key

DAY = 24 * 3600
Members = dict[str, SiteCertificate]


@dataclasses.dataclass
class Office:
    """The authority of a federation's consortium, free to sign what it likes."""

    federation: TinyFederation

    def __post_init__(self) -> None:
        key_file = self.federation.key_file
        self.key = private_key(key_file.with_name("authority.key"))
        self.authority = read_authority(key_file.with_name("authority.der").read_bytes())
        self.now = self.authority.not_before_seconds + DAY

    @property
    def members(self) -> Members:
        found = certificates_of_roster(self.federation.roster, self.authority, now_seconds=self.now)
        return {one.site: one for one in found}

    def certify(self, site: str, **changes: Any) -> SiteCertificate:
        known = self.members.get(site)
        settled: dict[str, Any] = {
            "site": site,
            "organisation": known.organisation if known else site,
            "role": known.role if known else "site",
            "key": known.key if known else SigningKey.generate().verifying_key,
            "not_before_seconds": self.authority.not_before_seconds,
            "not_after_seconds": self.authority.not_after_seconds,
            "entropy": bytes,
        }
        return issue_certificate(self.key, self.authority, **settled | changes)

    def sign(self, members: Members, *, version: int = 1, **changes: Any) -> bytes:
        settled: dict[str, Any] = {
            "issued_at_seconds": self.now,
            "max_age_seconds": 30 * DAY,
        }
        return make_roster(
            self.key, self.authority, members.values(), version=version, **settled | changes
        )


@pytest.fixture(scope="module")
def setup(tiny: TinyFederation, tmp_path_factory: pytest.TempPathFactory) -> RunSetup:
    return tiny.set_up(tmp_path_factory.mktemp("roster") / "run")


@pytest.fixture
def own(tiny: TinyFederation, setup: RunSetup, tmp_path: Path) -> Coordinator:
    """A run that this site has not heard of, with a home of the test's own."""
    home = tmp_path / "home"
    seen_before = shutil.ignore_patterns("runs", "newest-roster.json")
    shutil.copytree(tiny.homes[SITE], home, ignore=seen_before)
    federation = dataclasses.replace(tiny, homes={**tiny.homes, SITE: home})
    return Coordinator(federation, setup, setup.key)


def ask_with(asked: Coordinator, roster: bytes, run: str = "", **fields: Any) -> Answered:
    """Propose the run with another roster, which the manifest names unless `fields` say else."""
    body = decode_canonically(decode_canonically(roster)["body"])
    named = {"roster_version": body["version"], "roster_sha256": sha256(roster).hexdigest()}
    run = run or asked.setup.manifest.run
    manifest = dataclasses.replace(asked.setup.manifest, **{"run": run} | named | fields)
    query = messages.ManifestQuery(encode_manifest(manifest), roster)
    return asked.ask("query.manifest", query, subject=asked.subject(0, manifest_sha256="", run=run))


def refused(code: str) -> messages.Refusal:
    return messages.Refusal(code)


def accepted_by(answer: Answered) -> bool:
    return isinstance(answer.message, messages.ManifestReply)


def home_of(coordinator: Coordinator) -> SiteHome:
    return SiteHome(coordinator.federation.homes[SITE])


def test_an_accepted_run_has_its_roster_in_memory_and_beside_the_manifest(
    accepted: Coordinator,
) -> None:
    site = open_site(accepted.federation.homes[SITE])
    run = accepted.setup.manifest.run
    assert site.runs[run].roster.sha256 == accepted.setup.roster.sha256
    kept = site.home.run_folder(run) / "roster.cbor"
    assert kept.read_bytes() == accepted.setup.roster_bytes


def test_another_process_goes_on_with_the_kept_roster(accepted: Coordinator) -> None:
    forget_open_sites()
    assert isinstance(accepted.train().message, messages.TrainReply)
    site = open_site(accepted.federation.homes[SITE])
    assert site.runs[accepted.setup.manifest.run].roster.sites == ("alder", "birch", "cedar")


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_kept_roster_that_is_gone_or_damaged_stops_the_run(
    own: Coordinator, spoil: Callable[[Path], Any]
) -> None:
    assert accepted_by(own.propose())
    spoil(home_of(own).run_folder(own.setup.manifest.run) / "roster.cbor")
    forget_open_sites()
    assert own.train().message in (refused("CORRUPT_FILE"), refused("MALFORMED_MESSAGE"))


# -- what is refused -------------------------------------------------------------------------------


def test_a_roster_of_another_authority_is_refused(own: Coordinator) -> None:
    office = Office(own.federation)
    key = SigningKey.generate()
    window = office.authority.not_before_seconds, office.authority.not_after_seconds
    impostor = Office(own.federation)
    impostor.key = key
    impostor.authority = make_authority(
        key, consortium="simulation", not_before_seconds=window[0], not_after_seconds=window[1],
        entropy=bytes,
    )  # fmt: skip
    members = {
        name: issue_certificate(
            key, impostor.authority, site=name, organisation=one.organisation, role=one.role,
            key=one.key, not_before_seconds=window[0], not_after_seconds=window[1], entropy=bytes,
        )
        for name, one in office.members.items()
    }  # fmt: skip
    assert ask_with(own, impostor.sign(members)).message == refused("ROSTER_SIGNATURE")


def test_a_roster_other_than_the_manifests_is_refused(own: Coordinator) -> None:
    roster = Office(own.federation).sign(Office(own.federation).members, version=2)
    for fields in ({"roster_version": 1}, {"roster_sha256": "0" * 64}):
        assert ask_with(own, roster, **fields).message == refused("ROSTER_OTHER")
    assert accepted_by(ask_with(own, roster))


def test_a_roster_that_is_out_of_date_or_from_the_future_is_refused(own: Coordinator) -> None:
    office = Office(own.federation)
    roster = office.sign(office.members, max_age_seconds=DAY)
    site = open_site(own.federation.homes[SITE])
    site.utc_seconds = lambda: office.now + DAY + 1.0
    assert ask_with(own, roster).message == refused("ROSTER_EXPIRED")
    site.utc_seconds = lambda: office.now - 3600.0
    assert ask_with(own, roster).message == refused("ROSTER_NOT_YET_VALID")
    site.utc_seconds = lambda: float(office.now)
    assert accepted_by(ask_with(own, roster))


def test_a_roster_without_this_site_is_refused(own: Coordinator) -> None:
    office = Office(own.federation)
    others = {name: one for name, one in office.members.items() if name != SITE}
    assert ask_with(own, office.sign(others)).message == refused("NOT_IN_ROSTER")


@pytest.mark.parametrize("changed", ["key", "organisation"])
def test_a_roster_that_has_this_site_as_something_else_is_refused(
    own: Coordinator, changed: str
) -> None:
    office = Office(own.federation)
    key = SigningKey.generate().verifying_key
    other = {"key": key} if changed == "key" else {"organisation": "another house"}
    roster = office.sign(office.members | {SITE: office.certify(SITE, **other)})
    assert ask_with(own, roster).message == refused("ROSTER_OWN_ENTRY")


def test_a_coordinator_that_is_not_the_rosters_is_refused(own: Coordinator) -> None:
    office = Office(own.federation)
    key = SigningKey.generate().verifying_key
    roster = office.sign(office.members | {"coordinator": office.certify("coordinator", key=key)})
    assert ask_with(own, roster).message == refused("ROSTER_COORDINATOR")
    roster = office.sign(office.members)
    assert ask_with(own, roster, coordinator="alder").message == refused("ROSTER_COORDINATOR")
    assert ask_with(own, roster, coordinator="nobody").message == refused("NOT_IN_ROSTER")


@pytest.mark.parametrize(
    ("names", "code"),
    [(("alder", "elder"), "NOT_IN_ROSTER"), (("alder", "coordinator"), "ROSTER_ROLE")],
)
def test_a_manifest_whose_trainers_are_no_sites_of_the_roster_is_refused(
    own: Coordinator, names: tuple[str, ...], code: str
) -> None:
    roster = own.setup.roster_bytes
    assert ask_with(own, roster, training_sites=names).message == refused(code)


def test_a_manifest_of_another_suite_is_refused(own: Coordinator) -> None:
    answer = ask_with(own, own.setup.roster_bytes, suite="S0")
    assert answer.message == refused("SECAGG_SUITE")


@pytest.mark.parametrize("name", ["authority.der", "certificate.der"])
@pytest.mark.parametrize(
    ("spoil", "codes"),
    [
        (Path.unlink, {"NO_CERTIFICATE"}),
        (lambda path: path.write_bytes(b""), {"CERT_MALFORMED"}),
    ],
    ids=["gone", "empty"],
)
def test_a_home_without_its_certificates_takes_part_in_nothing(
    own: Coordinator, name: str, spoil: Callable[[Path], Any], codes: set[str]
) -> None:
    spoil(home_of(own).consortium / name)
    answer = own.propose()
    assert isinstance(answer.message, messages.Refusal)
    assert answer.message.code in codes


def test_a_home_with_the_certificate_of_another_site_takes_part_in_nothing(
    own: Coordinator,
) -> None:
    other = SiteHome(own.federation.homes[next(iter(own.federation.homes))])
    shutil.copy(other.certificate_file, home_of(own).certificate_file)
    assert own.propose().message == refused("ROSTER_OWN_ENTRY")


# -- versions --------------------------------------------------------------------------------------


def test_once_a_newer_roster_was_seen_an_older_one_is_refused_for_a_new_run(
    own: Coordinator,
) -> None:
    office = Office(own.federation)
    newer = office.sign(office.members, version=2)
    assert accepted_by(ask_with(own, newer, run="ab" * 8))
    assert ask_with(own, own.setup.roster_bytes, run="cd" * 8).message == refused("ROSTER_OLD")
    forget_open_sites()
    assert own.propose().message == refused("ROSTER_OLD")


def members_now(own: Coordinator) -> tuple[str, ...]:
    """Let the site work on its first run, and give the members that it then sees in it."""
    assert isinstance(own.train().message, messages.TrainReply)
    site = open_site(own.federation.homes[SITE])
    return site.runs[own.setup.manifest.run].roster.sites


@pytest.mark.parametrize("restart", [False, True])
def test_who_is_new_waits_for_the_next_run_and_the_present_one_goes_on(
    own: Coordinator, restart: bool
) -> None:
    office = Office(own.federation)
    assert accepted_by(own.propose())
    newer = office.sign(office.members | {"dogwood": office.certify("dogwood")}, version=2)
    assert accepted_by(ask_with(own, newer, run="ab" * 8))
    if restart:
        forget_open_sites()
    assert accepted_by(own.propose())
    assert members_now(own) == ("alder", "birch", "cedar")


@pytest.mark.parametrize("restart", [False, True])
def test_who_is_gone_from_a_newer_roster_is_gone_from_the_present_run_at_once(
    own: Coordinator, restart: bool
) -> None:
    office = Office(own.federation)
    assert accepted_by(own.propose())
    left = {name: one for name, one in office.members.items() if name != "cedar"}
    trainers = tuple(name for name in own.setup.manifest.training_sites if name in left)
    newer = office.sign(left, version=2)
    ask_with(own, newer, run="ab" * 8, training_sites=trainers)
    if restart:
        forget_open_sites()
    assert members_now(own) == tuple(sorted(left.keys() - {"coordinator"}))


@pytest.mark.parametrize("restart", [False, True])
def test_a_member_that_is_gone_leaves_the_layout_of_the_runs_sums_as_it_was(
    own: Coordinator, restart: bool
) -> None:
    """The coordinator keeps to the run's roster, and with it to the room of the lane."""
    office = Office(own.federation)
    assert accepted_by(own.propose())
    left = {name: one for name, one in office.members.items() if name != "cedar"}
    newer = office.sign(left, version=2)
    ask_with(own, newer, run="ab" * 8, training_sites=("alder", "birch"))
    if restart:
        forget_open_sites()
    assert members_now(own) == ("alder", "birch")
    layout = evaluation_layout(own.setup.job, 3)
    manifest = own.setup.manifest
    for _ in range(2):
        site = open_site(own.federation.homes[SITE])
        run = site.accepted_run(manifest.run, own.setup.manifest_sha256)
        assert layout_of_step(run, "test")(layout.sha256) == layout


def test_a_member_with_another_key_is_gone_from_the_present_run(own: Coordinator) -> None:
    office = Office(own.federation)
    assert accepted_by(own.propose())
    key = SigningKey.generate().verifying_key
    newer = office.sign(office.members | {"cedar": office.certify("cedar", key=key)}, version=2)
    assert accepted_by(ask_with(own, newer, run="ab" * 8))
    assert members_now(own) == ("alder", "birch")


def test_who_is_new_is_asked_for_where_the_policy_says_so(own: Coordinator) -> None:
    office = Office(own.federation)
    home = home_of(own)
    home.policy_file.write_text(home.policy_file.read_text().replace('"ca"', '"ask"'))
    assert accepted_by(own.propose())
    newer = office.sign(office.members | {"dogwood": office.certify("dogwood")}, version=2)
    refusal = refused("ROSTER_NOT_ACCEPTED")
    assert ask_with(own, newer, run="ab" * 8).message == refusal
    assert members_now(own) == ("alder", "birch", "cedar")
    accept_waiting(home, 2)
    assert accepted_by(ask_with(own, newer, run="ab" * 8))


def test_a_newer_roster_is_remembered_even_if_its_run_is_refused(own: Coordinator) -> None:
    office = Office(own.federation)
    newer = office.sign(office.members, version=2)
    answer = ask_with(own, newer, run="ab" * 8, parameter_spec_sha256="0" * 64)
    assert answer.message == refused("WEIGHTS_MISMATCH")
    assert own.propose().message == refused("ROSTER_OLD")


def test_a_roster_that_is_not_believed_is_not_remembered(own: Coordinator) -> None:
    office = Office(own.federation)
    without_me = {name: one for name, one in office.members.items() if name != SITE}
    assert ask_with(own, office.sign(without_me, version=9)).message == refused("NOT_IN_ROSTER")
    assert accepted_by(own.propose())


def test_two_rosters_of_one_version_are_refused(own: Coordinator) -> None:
    office = Office(own.federation)
    assert accepted_by(own.propose())
    fork = office.sign(office.members | {"dogwood": office.certify("dogwood")}, version=1)
    assert ask_with(own, fork, run="ab" * 8).message == refused("ROSTER_FORKED")


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"version": "x", "sha256": ""}'])
def test_a_home_that_forgot_which_roster_it_saw_takes_part_in_nothing(
    own: Coordinator, content: str
) -> None:
    assert accepted_by(own.propose())
    seen = home_of(own).consortium / "newest-roster.json"
    assert json.loads(seen.read_text())["version"] == 1
    seen.write_text(content)
    assert own.propose().message == refused("CORRUPT_FILE")
