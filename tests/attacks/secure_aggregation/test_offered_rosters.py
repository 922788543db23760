"""Rosters and suites that a coordinator offers to a hospital, which believes none of them.

The code leaves, one line of the audit log has it, and nothing else in the hospital changes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.attacks.refused_requests import require_written_down
from tests.attacks.secure_aggregation.malicious_requests import ELDER, joined_in_mid_run
from tests.attacks.secure_aggregation.real_hospitals import (
    ALDER,
    BIRCH,
    CEDAR,
    DOGWOOD,
    VICTIM,
    Round,
    Scene,
    request_of,
)
from tests.client.daemon.test_trusted_roster import DAY, Members, Office, accepted_by, ask_with

from fedward_client.daemon.site_state import open_site
from fedward_common.crypto.signing import SigningKey
from fedward_common.secagg import refusal_codes as codes
from fedward_common.wire.canonical_cbor import decode_canonically, encode_canonically

OTHER_RUN = "cd" * 8


def offered_by(change: Callable[[Office, Members], bytes]) -> Callable[[Scene], bytes]:
    """Give what an office of this federation signs."""

    def offer(scene: Scene) -> bytes:
        office = Office(scene.hospitals.federation)
        return change(office, office.members)

    return offer


def expired(scene: Scene) -> bytes:
    office = Office(scene.hospitals.federation)
    roster = office.sign(office.members, version=2, max_age_seconds=DAY)
    site = open_site(scene.hospitals.home(VICTIM))
    site.utc_seconds = lambda: office.now + DAY + 1.0
    return roster


def older(scene: Scene) -> bytes:
    joined_in_mid_run(scene)
    return scene.hospitals.setup.roster_bytes


def signed_by_the_coordinator(scene: Scene) -> bytes:
    roster: Any = decode_canonically(scene.hospitals.setup.roster_bytes)
    signature = scene.hospitals.setup.key.sign(roster["body"], context="fedward roster v1")
    return encode_canonically(roster | {"signature": signature})


def unsigned(scene: Scene) -> bytes:
    roster: Any = decode_canonically(scene.hospitals.setup.roster_bytes)
    return encode_canonically(roster | {"signature": bytes(len(roster["signature"]))})


def with_an_organisation(office: Office, members: Members) -> bytes:
    other = office.certify(VICTIM, organisation="another house")
    return office.sign(members | {VICTIM: other}, version=2)


def with_another_coordinator(office: Office, members: Members) -> bytes:
    other = office.certify("coordinator", key=SigningKey.generate().verifying_key)
    return office.sign(members | {"coordinator": other}, version=2)


def without_the_victim(office: Office, members: Members) -> bytes:
    others = {name: one for name, one in members.items() if name != VICTIM}
    return office.sign(others, version=2)


def another_of_the_same_version(office: Office, members: Members) -> bytes:
    return office.sign(members | {ELDER: office.certify(ELDER)}, version=1)


ROSTERS: dict[str, tuple[Callable[[Scene], bytes], dict[str, Any], str]] = {
    "that is out of date": (expired, {}, "ROSTER_EXPIRED"),
    "that nobody signed": (unsigned, {}, "ROSTER_SIGNATURE"),
    "that the coordinator signed": (signed_by_the_coordinator, {}, "ROSTER_SIGNATURE"),
    "that is older than one seen": (older, {}, "ROSTER_OLD"),
    "that is another of its version": (
        offered_by(another_of_the_same_version), {}, "ROSTER_FORKED",
    ),
    "that the manifest does not name": (
        lambda s: s.hospitals.setup.roster_bytes, {"roster_sha256": "00" * 32}, "ROSTER_OTHER",
    ),
    "that has the site in another house": (
        offered_by(with_an_organisation), {}, "ROSTER_OWN_ENTRY",
    ),
    "without the site": (offered_by(without_the_victim), {}, "NOT_IN_ROSTER"),
    "of another coordinator": (
        offered_by(with_another_coordinator), {}, "ROSTER_COORDINATOR",
    ),
    "with a manifest of a swapped suite": (
        lambda s: s.hospitals.setup.roster_bytes, {"suite": "S0"}, codes.SUITE,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("offer", "fields", "code"), ROSTERS.values(), ids=ROSTERS)
def test_a_roster_is_refused_and_written_down(
    led: Round,
    tmp_path: Path,
    offer: Callable[[Scene], bytes],
    fields: dict[str, Any],
    code: str,
) -> None:
    scene = led.scene("ready", tmp_path / "home")
    roster = offer(scene)
    entry = require_written_down(
        scene.asking, lambda one: ask_with(one.coordinator, roster, run=OTHER_RUN, **fields), code
    )
    assert (entry["run"], entry["kind"], entry["step"]) == (OTHER_RUN, "manifest.query", "accept")


@pytest.mark.parametrize(
    ("after", "code"),
    [
        ("ready", codes.FOREIGN_KEY),
        ("share", codes.FOREIGN_KEY),
        ("mask", "NOT_IN_ROSTER"),
        ("confirm", "NOT_IN_ROSTER"),
    ],
)
def test_a_step_with_a_member_that_is_gone_is_refused_and_written_down(
    led: Round, tmp_path: Path, after: str, code: str
) -> None:
    """In the middle of a round, whose coordinator goes on as if nobody had left."""
    scene = led.scene(after, tmp_path / "home")
    office = Office(scene.hospitals.federation)
    left = {name: one for name, one in office.members.items() if name != DOGWOOD}
    newer = office.sign(left, version=2)
    trainers = (ALDER, BIRCH, CEDAR)
    offered = ask_with(scene.asking.coordinator, newer, run=OTHER_RUN, training_sites=trainers)
    assert accepted_by(offered)
    body = request_of(scene.attempt, scene.next_step)
    entry = require_written_down(
        scene.asking,
        lambda _: scene.hospitals.step(VICTIM, scene.next_step, body),
        code,
    )
    assert entry["step"] == scene.next_step
