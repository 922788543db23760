"""Four hospitals that are no simulation, led by the rules through a round and kept at each step.

An attack gets a copy of one home as it was after the step that it follows. What is attacked
is the second attempt; of the first, which was given up, the coordinator has all that was said.
"""

import dataclasses
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tests.attacks.secure_aggregation.asked_hospitals import Hospitals
from tests.client.daemon.asked_site import SITE, Answered, Coordinator
from tests.client.daemon.test_trusted_roster import Members, Office
from tests.client.jobs.asking_coordinator import Asking
from tests.tiny_federation import TinyFederation, make_federation, tiny_job

from fedward_client.site_home import SiteHome
from fedward_common.crypto.signing import SigningKey
from fedward_common.identities import SiteId
from fedward_common.wire import messages
from fedward_server.secagg_coordinator import (
    AttemptState,
    confirm_request,
    mask_request,
    share_request,
    take_share,
    unmask_request,
)

ALDER, BIRCH, CEDAR, DOGWOOD = map(SiteId, ("alder", "birch", "cedar", "dogwood"))
FOUR = (ALDER, BIRCH, CEDAR, DOGWOOD)
VICTIM = SITE  # birch

_JOB = ("secure_aggregation.enabled=true", "training.local_steps=1")
_POLICY = """[jobs]
approval = "within-policy"
[privacy]
unbounded_training = true
[consortium]
accept_roster = "ca"
[secure_aggregation]
minimum_share = 0.75
"""
# The step that all have answered last, and the one that is next by the rules.
NEXT_STEP: Mapping[str, messages.SecureStepName] = {
    "ready": "share", "share": "mask", "mask": "confirm", "confirm": "unmask", "unmask": "unmask",
}  # fmt: skip


@dataclass
class Scene:
    """Hospitals after a step, for one attack.

    Attributes:
        attempt: What the coordinator knows of the attempt that is under way.
        former: The same of the attempt before, which all sites had shared in.
        later: The same of the present attempt when it was unmasked.
        next_step: By the rules.
        honest_answer: Of the victim to that; None where it draws keys of its own each time.
    """

    hospitals: Hospitals
    attempt: AttemptState
    former: AttemptState
    later: AttemptState
    next_step: messages.SecureStepName
    honest_answer: Answered | None

    @property
    def asking(self) -> Asking:
        """The victim, as other tests ask one site."""
        setup = self.hospitals.setup
        return Asking(Coordinator(self.hospitals.federation, setup, setup.key))

    def key_of(self, site: SiteId) -> SigningKey:
        """The identity key of a site that works with the coordinator."""
        return identity_key(self.hospitals.home(site))

    def go_on(self) -> None:
        """Check that the honest request is answered as if nothing had been asked before."""
        body = request_of(self.attempt, self.next_step)
        answered = self.hospitals.step(VICTIM, self.next_step, body)
        assert isinstance(answered.message, messages.SecureStepReply), answered
        if self.honest_answer is None:
            take_share(self.attempt, VICTIM, answered.message.body)
            return
        assert answered.message == self.honest_answer.message
        assert answered.arrays.keys() == self.honest_answer.arrays.keys()
        for name, array in answered.arrays.items():
            np.testing.assert_array_equal(array, self.honest_answer.arrays[name])


@dataclass
class Round:
    """A round that was led to its end, with the victim's home as it was after each step."""

    hospitals: Hospitals
    folder: Path
    former: AttemptState
    attempts: dict[str, AttemptState] = field(default_factory=dict)
    answers: dict[str, Answered] = field(default_factory=dict)

    def keep(self, stage: str, attempt: AttemptState) -> AttemptState:
        """Keep the victim's home, and what the coordinator knows."""
        shutil.copytree(self.hospitals.home(VICTIM), self.folder / stage)
        self.attempts[stage] = attempt
        return attempt

    def answered(self, step: messages.SecureStepName, attempt: AttemptState) -> None:
        """Keep what the victim answers; whoever asks after that gets the same."""
        self.answers[step] = self.hospitals.step(VICTIM, step, request_of(attempt, step))

    def scene(self, stage: str, folder: Path) -> Scene:
        """Give hospitals of which the victim has a home of its own in this folder."""
        shutil.copytree(self.folder / stage, folder)
        federation = self.hospitals.federation
        federation = dataclasses.replace(federation, homes={**federation.homes, VICTIM: folder})
        return Scene(
            dataclasses.replace(self.hospitals, federation=federation),
            self.attempts[stage],
            self.former,
            self.attempts["unmask"],
            NEXT_STEP[stage],
            self.answers.get(NEXT_STEP[stage]),
        )


def request_of(attempt: AttemptState, step: messages.SecureStepName) -> bytes:
    """The honest request of a step to the victim."""
    if step == "share":
        return share_request(attempt)
    if step == "mask":
        return mask_request(attempt, VICTIM)
    return confirm_request(attempt) if step == "confirm" else unmask_request(attempt)


def lead_round(folder: Path) -> Round:
    """Lead four hospitals through a round; its first attempt was given up after sharing."""
    hospitals = real_hospitals(folder)
    led = Round(hospitals, folder / "kept", hospitals.all_share(hospitals.all_ready()))
    hospitals.attempt = 1
    attempt = led.keep("ready", hospitals.all_ready())
    attempt = led.keep("share", hospitals.all_share(attempt))
    led.answered("mask", attempt)
    attempt = led.keep("mask", hospitals.all_mask(attempt))
    led.answered("confirm", attempt)
    attempt = led.keep("confirm", hospitals.all_confirm(attempt))
    led.answered("unmask", attempt)
    led.keep("unmask", hospitals.all_unmask(attempt))
    return led


def real_hospitals(folder: Path, organisations: Mapping[SiteId, str] | None = None) -> Hospitals:
    """Make hospitals that agreed to a run, some of them of the organisations given."""
    federation = make_federation(folder / "made", tiny_job(overrides=_JOB), sites=FOUR)
    for home in federation.homes.values():
        settings = home / "site.toml"
        settings.write_text(settings.read_text().replace("simulated = true\n", ""))
        SiteHome(home).policy_file.write_text(_POLICY)
    federation = dataclasses.replace(federation, seals_answers=True)
    federation = under_organisations(federation, organisations or {})
    hospitals = Hospitals(federation, federation.set_up(folder / "run"))
    hospitals.propose()
    return hospitals


def under_organisations(
    federation: TinyFederation, organisations: Mapping[SiteId, str]
) -> TinyFederation:
    """Have the consortium's office certify sites as somebody else's."""
    office = Office(federation)
    certified: Members = {}
    for site, name in organisations.items():
        certified[site] = office.certify(site, organisation=name)
        SiteHome(federation.homes[site]).certificate_file.write_bytes(certified[site].der)
    if not certified:
        return federation
    roster = office.sign(office.members | certified, version=2)
    return dataclasses.replace(federation, roster=roster)


def identity_key(home: Path) -> SigningKey:
    """Read a site's key."""
    return SigningKey.from_raw(bytes.fromhex((home / "trust" / "site.key").read_text()))
