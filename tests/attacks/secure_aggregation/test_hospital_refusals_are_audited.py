"""Every attack of a malicious coordinator, on a hospital: refused by its rule and written down.

Each request is signed by the coordinator and comes the way of all messages. The code leaves, one
line of the audit log has it, nothing else in the hospital changes, and the honest request of the
step is answered after it.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.attacks.refused_requests import require_written_down
from tests.attacks.secure_aggregation import malicious_requests as ask
from tests.attacks.secure_aggregation.asked_hospitals import code_of
from tests.attacks.secure_aggregation.malicious_requests import ELDER
from tests.attacks.secure_aggregation.real_hospitals import (
    ALDER,
    BIRCH,
    CEDAR,
    DOGWOOD,
    FOUR,
    VICTIM,
    Round,
    Scene,
    real_hospitals,
    request_of,
)
from tests.client.daemon.asked_site import Answered, Coordinator
from tests.client.jobs.asking_coordinator import Asking

from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.messages import (
    Confirmation,
    RoundKeys,
    Sharer,
    ShareRequest,
    Signed,
    decode,
    encode,
)
from fedward_common.wire import messages
from fedward_server.simulation import federation as simulated_federation

Step = messages.SecureStepName
Body = Callable[[Scene], bytes]
ALONE_WITH_TWO = (ALDER, BIRCH)


@dataclass(frozen=True)
class Attack:
    """A request after the step that all have answered last, and the rule that forbids it.

    `again` where the very message was answered before the round went on.
    """

    after: str
    step: Step
    body: Body
    code: str
    again: bool = False


def require_refused(
    scene: Scene, step: Step, body: bytes, code: str, *, again: bool = False
) -> None:
    entry = require_written_down(
        scene.asking, lambda _: scene.hospitals.step(VICTIM, step, body), code, again=again
    )
    hospitals = scene.hospitals
    asked = hospitals.setup.manifest.run, hospitals.number, hospitals.attempt, hospitals.purpose
    assert (entry["run"], entry["round"], entry["attempt"], entry["purpose"]) == asked
    assert entry["step"] == step


DIRECTORIES: dict[str, tuple[Body, str]] = {
    "the coordinator's keys under a site's name": (
        lambda s: ask.with_the_coordinators_keys(s, CEDAR), codes.BAD_SIGNATURE,
    ),
    "the coordinator's keys under the name of who is asked": (
        lambda s: ask.with_the_coordinators_keys(s, VICTIM), codes.KEYS_CHANGED,
    ),
    "a site that was added in mid-run": (
        ask.with_a_site_that_joined_in_mid_run, codes.FOREIGN_KEY,
    ),
    "keys that an ally took from another site": (
        lambda s: ask.with_keys(
            s, DOGWOOD, s.key_of(DOGWOOD),
            mask_key=decode(RoundKeys, s.attempt.round_keys[FOUR.index(CEDAR)].body).mask_key,
        ),
        codes.FOREIGN_KEY,
    ),
    "too few sites": (lambda s: ask.directory_of(s, *ALONE_WITH_TWO), codes.TOO_FEW_SITES),
    "nobody": (lambda s: ask.directory_of(s), codes.TOO_FEW_SITES),
    "without the one that is asked": (
        lambda s: ask.directory_of(s, ALDER, CEDAR, DOGWOOD), codes.SELF_MISSING,
    ),
    "one site twice": (
        lambda s: ask.directory_of(s, *FOUR, DOGWOOD), codes.NOT_A_CHAIN,
    ),
    "not sorted": (lambda s: ask.directory_of(s, *reversed(FOUR)), codes.NOT_A_CHAIN),
    "keys under a swapped suite": (
        lambda s: ask.with_another_binding(s, suite="S0"), codes.SUITE,
    ),
    "keys under a newer roster": (
        lambda s: ask.with_another_binding(s, roster_version=2), codes.ROSTER,
    ),
    "keys under another roster of that version": (
        lambda s: ask.with_another_binding(s, roster_sha256="00" * 32), codes.ROSTER,
    ),
    "the directory of the former attempt": (
        lambda s: request_of(s.former, "share"), codes.KEYS_CHANGED,
    ),
    "keys of the former attempt": (ask.with_keys_of_the_former_attempt, codes.BINDING),
}  # fmt: skip

SHARERS: dict[str, tuple[Body, str]] = {
    "shares that were sealed for another site": (ask.with_a_packet_for_another, codes.BAD_PACKET),
    "a packet that is missing": (
        lambda s: ask.masked_for(
            s, *FOUR, cedar=Sharer(ask.sharers_of(s)[CEDAR].announcement, b"")
        ),
        codes.BAD_PACKET,
    ),
    "an announcement by the coordinator": (
        lambda s: ask.with_an_announcement(s, CEDAR, s.hospitals.setup.key), codes.BAD_SIGNATURE,
    ),
    "an announcement by an ally for another": (
        lambda s: ask.with_an_announcement(s, CEDAR, s.key_of(DOGWOOD)), codes.BAD_SIGNATURE,
    ),
    "an announcement of a site that was added in mid-run": (
        lambda s: ask.with_an_announcement(s, ELDER, ask.joined_in_mid_run(s)), codes.FOREIGN_KEY,
    ),
    "what the one that is asked announced before": (
        lambda s: ask.masked_for(
            s, *FOUR, birch=Sharer(ask.announcement_of_victim(s), b"")
        ),
        codes.BINDING,
    ),
    "too few sharers": (lambda s: ask.masked_for(s, *ALONE_WITH_TWO), codes.TOO_FEW_SITES),
    "sharers without the one that is asked": (
        lambda s: ask.masked_for(s, ALDER, CEDAR, DOGWOOD), codes.SELF_MISSING,
    ),
    "one sharer twice": (lambda s: ask.masked_for(s, *FOUR, DOGWOOD), codes.NOT_A_CHAIN),
    "the sharers of the former attempt": (lambda s: request_of(s.former, "mask"), codes.BINDING),
}  # fmt: skip

LISTS: dict[str, tuple[Body, str]] = {
    "one site as survivor and as dropout": (
        lambda s: ask.lists_of(s, FOUR, [CEDAR]), codes.LISTS_OVERLAP,
    ),
    "the one that is asked as survivor and as dropout": (
        lambda s: ask.lists_of(s, FOUR, [VICTIM]), codes.LISTS_OVERLAP,
    ),
    "the one that is asked as dropout": (
        lambda s: ask.lists_of(s, (ALDER, CEDAR, DOGWOOD), [VICTIM]), codes.SELF_MISSING,
    ),
    "a survivor that shared nothing": (
        lambda s: ask.lists_of(s, (*FOUR, ELDER)), codes.NOT_A_CHAIN,
    ),
    "a dropout that shared nothing": (
        lambda s: ask.lists_of(s, FOUR, [ELDER]), codes.NOT_A_CHAIN,
    ),
    "a sharer on neither list": (lambda s: ask.lists_of(s, FOUR[:3]), codes.NOT_A_CHAIN),
    "a survivor twice": (lambda s: ask.lists_of(s, (*FOUR, DOGWOOD)), codes.NOT_A_CHAIN),
    "survivors that are not sorted": (
        lambda s: ask.lists_of(s, reversed(FOUR)), codes.NOT_A_CHAIN,
    ),
    "too few survivors": (
        lambda s: ask.lists_of(s, ALONE_WITH_TWO, (CEDAR, DOGWOOD)), codes.TOO_FEW_SITES,
    ),
    "the lists of the former attempt": (ask.lists_of_the_former_attempt, codes.BINDING),
}  # fmt: skip

CONFIRMATIONS: dict[str, tuple[Body, str]] = {
    "no signature": (lambda s: ask.unmasking(s, []), codes.TOO_FEW_SIGNATURES),
    "its own signature alone": (
        lambda s: ask.unmasking(s, ask.real(s, VICTIM)), codes.TOO_FEW_SIGNATURES,
    ),
    "one signature too few": (
        lambda s: ask.unmasking(s, ask.real(s, *ALONE_WITH_TWO)), codes.TOO_FEW_SIGNATURES,
    ),
    "one signature twice": (
        lambda s: ask.unmasking(s, ask.real(s, ALDER, BIRCH, BIRCH)), codes.NOT_A_CHAIN,
    ),
    "a signature of zeros": (
        lambda s: ask.unmasking(
            s, [*ask.real(s, *ALONE_WITH_TWO), Confirmation(CEDAR, bytes(64))]
        ),
        codes.BAD_SIGNATURE,
    ),
    "an ally's signature under another name": (
        lambda s: ask.unmasking(
            s,
            [
                *ask.real(s, *ALONE_WITH_TWO),
                Confirmation(CEDAR, ask.real(s, DOGWOOD)[0].signature),
            ],
        ),
        codes.BAD_SIGNATURE,
    ),
    "a signature of the former attempt": (
        lambda s: ask.unmasking(
            s, [*ask.real(s, *ALONE_WITH_TWO), ask.of_the_former_attempt(s, CEDAR)]
        ),
        codes.BAD_SIGNATURE,
    ),
    "a signature of a site that was added in mid-run": (
        lambda s: ask.unmasking(
            s, [*ask.real(s, *ALONE_WITH_TWO), Confirmation(ELDER, bytes(64))]
        ),
        codes.NOT_A_CHAIN,
    ),
    "other lists, all signed": (ask.unmasking_without_dogwood, codes.SECOND_REQUEST),
    "one site as survivor and as dropout": (
        lambda s: ask.unmasking(s, s.later.confirmed, FOUR, [CEDAR]), codes.SECOND_REQUEST,
    ),
}  # fmt: skip

SECOND_FACES: dict[str, Attack] = {
    "a second directory": Attack(
        "share", "share", lambda s: ask.directory_of(s, *FOUR[:3]), codes.SECOND_REQUEST
    ),
    "a second list of sharers": Attack(
        "mask", "mask", lambda s: ask.masked_for(s, *FOUR[:3]), codes.SECOND_REQUEST
    ),
    "a second list of survivors": Attack(
        "confirm", "confirm", lambda s: ask.lists_of(s, FOUR[:3], [DOGWOOD]), codes.SECOND_REQUEST
    ),
    "a second unmasking with other lists": Attack(
        "unmask", "unmask", ask.unmasking_without_dogwood, codes.SECOND_REQUEST
    ),
    "a second unmasking with other signatures": Attack(
        "unmask", "unmask", lambda s: ask.unmasking(s, ask.real(s, *FOUR[1:])),
        codes.SECOND_REQUEST,
    ),
    "a list of survivors after unmasking": Attack(
        "unmask", "confirm", lambda s: ask.lists_of(s, FOUR[:3], [DOGWOOD]), codes.SECOND_REQUEST
    ),
    "masking after unmasking": Attack(
        "unmask", "mask", lambda s: request_of(s.attempt, "mask"), codes.CLOSED, again=True
    ),
    "giving up after unmasking": Attack("unmask", "abandon", lambda s: b"", codes.CLOSED),
}  # fmt: skip

TOO_EARLY: tuple[tuple[str, Step], ...] = (
    ("ready", "mask"),
    ("ready", "confirm"),
    ("ready", "unmask"),
    ("share", "confirm"),
    ("share", "unmask"),
)


def request_of_later(step: Step) -> Body:
    return lambda scene: request_of(scene.later, step)


OUT_OF_ORDER: dict[str, Attack] = {
    f"{step} after {after}": Attack(after, step, request_of_later(step), codes.OUT_OF_ORDER)
    for after, step in TOO_EARLY
}

ATTACKS: dict[str, Attack] = {
    **{f"directory: {name}": Attack("ready", "share", *it) for name, it in DIRECTORIES.items()},
    **{f"sharers: {name}": Attack("share", "mask", *it) for name, it in SHARERS.items()},
    **{f"lists: {name}": Attack("mask", "confirm", *it) for name, it in LISTS.items()},
    **{f"unmask: {name}": Attack("confirm", "unmask", *it) for name, it in CONFIRMATIONS.items()},
    **SECOND_FACES,
    **OUT_OF_ORDER,
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_an_attack_is_refused_by_its_rule_and_written_down_and_the_round_goes_on(
    led: Round, tmp_path: Path, attack: Attack
) -> None:
    scene = led.scene(attack.after, tmp_path / "home")
    require_refused(scene, attack.step, attack.body(scene), attack.code, again=attack.again)
    scene.go_on()


ELSEWHERE: dict[str, tuple[dict[str, Any], str]] = {
    "of the attempt before": ({"attempt": 0}, codes.BINDING),
    "of the attempt after": ({"attempt": 2}, codes.BINDING),
    "of another round": ({"number": 2}, codes.CLOSED),
    "of another purpose": ({"purpose": "test"}, codes.CLOSED),
}


@pytest.mark.parametrize("after", ["ready", "share", "mask", "confirm"])
@pytest.mark.parametrize(("place", "code"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_the_next_request_under_another_name_is_refused_and_written_down(
    led: Round, tmp_path: Path, after: str, place: dict[str, Any], code: str
) -> None:
    scene = led.scene(after, tmp_path / "home")
    present = scene.hospitals
    scene.hospitals = dataclasses.replace(present, **place)
    body = request_of(scene.attempt, scene.next_step)
    require_refused(scene, scene.next_step, body, code)
    scene.hospitals = present
    scene.go_on()


def test_a_message_of_the_former_attempt_that_comes_again_is_refused_and_written_down(
    led: Round, tmp_path: Path
) -> None:
    """The very bytes that were signed and answered then."""
    scene = led.scene("ready", tmp_path / "home")
    scene.hospitals.attempt = 0
    require_refused(scene, "share", request_of(scene.former, "share"), codes.BINDING, again=True)
    scene.hospitals.attempt = 1
    scene.go_on()


def test_an_organisation_with_a_third_of_the_sites_is_refused_and_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own coordinator would not begin such a run; this one does."""
    monkeypatch.setattr(simulated_federation, "require_aggregation_fits", lambda *_: None)
    hospitals = real_hospitals(tmp_path, {CEDAR: "one house", DOGWOOD: "one house"})
    keys = [signed_keys_of(hospitals.ready(site)) for site in FOUR]
    one = Asking(Coordinator(hospitals.federation, hospitals.setup, hospitals.setup.key))

    def share(entries: list[Signed]) -> Answered:
        return hospitals.step(VICTIM, "share", encode(ShareRequest(tuple(entries))))

    entry = require_written_down(one, lambda _: share(keys), codes.ORGANISATION_TOO_LARGE)
    assert entry["step"] == "share"
    assert code_of(share(keys[:3])) == ""


def signed_keys_of(ready: Answered) -> Signed:
    assert isinstance(ready.message, messages.SecureReady), ready
    return decode(Signed, ready.message.keys)
