"""Whole hospitals, asked over the wire by a coordinator that may ask what it likes.

Its machine is the honest one, so that a test can go as far as it wants by the rules first.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Message
from numpy.typing import NDArray
from tests.client.daemon.asked_site import NODE, Answered
from tests.tiny_federation import TinyFederation

from fedward_client.daemon.app import app
from fedward_client.daemon.audit import AUDIT_FILE
from fedward_client.daemon.round_store import RoundStore
from fedward_client.secagg.member_state import MemberState
from fedward_common.identities import COORDINATOR, SiteId
from fedward_common.secagg.binding import RoundBinding
from fedward_common.secagg.layout import ContributionLayout, evaluation_layout, training_layout
from fedward_common.wire import messages
from fedward_common.wire.envelope import hashes_of_arrays, sign_envelope
from fedward_common.wire.flower_records import array_record, envelope_of, records_of
from fedward_common.wire.header import decode_header
from fedward_server import secagg_coordinator as machine
from fedward_server.coordinator.questions import question_of, subject_of
from fedward_server.coordinator.run_setup import RunSetup
from fedward_server.coordinator.secure_answers import binding_of
from fedward_server.simulation.in_process_grid import InTurnGrid, node_context

Vectors = dict[str, NDArray[np.float32]]


@dataclass
class Hospitals:
    """The sites of one run; whoever holds the coordinator's key asks them.

    Attributes:
        number: The round that is asked about, and `attempt` its attempt.
    """

    federation: TinyFederation
    setup: RunSetup
    purpose: messages.SecurePurpose = "train"
    number: int = 1
    attempt: int = 0
    evaluate: bool = False
    weights: NDArray[np.float32] | None = None
    keys: dict[SiteId, bytes] = field(default_factory=dict)
    in_advance: dict[SiteId, bytes] = field(default_factory=dict)

    @property
    def sites(self) -> list[SiteId]:
        return sorted(self.federation.homes)

    @property
    def vectors(self) -> Vectors:
        weights = self.setup.initial_weights() if self.weights is None else self.weights
        return {messages.WEIGHTS: weights}

    def ask(
        self,
        site: SiteId,
        flower_type: str,
        message: messages.Message,
        arrays: Vectors | None = None,
        *,
        manifest: bool = True,
        body: bytes | None = None,
    ) -> Answered:
        """Deliver one signed message to one hospital; `body` replaces the message's own."""
        kind, encoded = messages.encode_message(message)
        sent = arrays or {}
        envelope = sign_envelope(
            self.setup.key,
            subject=subject_of(self.setup, self.number, self.attempt, manifest=manifest),
            sender=COORDINATOR,
            recipient=site,
            kind=kind,
            body=encoded if body is None else body,
            arrays_sha256=hashes_of_arrays(sent),
        )
        InTurnGrid({})  # gives this process the identity that Flower's messages ask for
        records = records_of(envelope, array_record(sent))
        request = Message(records, dst_node_id=NODE, message_type=flower_type)
        request.metadata.__dict__["_message_id"] = "m1"
        home = str(self.federation.homes[site])
        reply = app(request, node_context(NODE, {"site-home": home}))
        if reply.has_error():
            return Answered(None, {}, reply.error.reason or "", repr(reply.error))
        signed, answer = envelope_of(reply.content)
        message = messages.decode_message(decode_header(signed.header_bytes).kind, signed.body)
        return Answered(message, dict(answer), "", repr(signed))

    def propose(self) -> None:
        query = messages.ManifestQuery(self.setup.manifest_bytes, self.setup.roster_bytes)
        for site in self.sites:
            answered = self.ask(site, "query.manifest", query, manifest=False)
            assert isinstance(answered.message, messages.ManifestReply), answered

    def ready(self, site: SiteId, vectors: Vectors | None = None) -> Answered:
        """Ask for READY."""
        arrays = self.vectors if vectors is None else vectors
        if self.purpose == "train":
            return self.ask(site, "train.round", messages.TrainRound(self.evaluate), arrays)
        kind = "evaluate.final" if self.purpose == "test" else "evaluate.validation"
        return self.ask(site, kind, messages.EvaluateWeights(self.purpose), arrays)

    def step(self, site: SiteId, step: messages.SecureStepName, body: bytes = b"") -> Answered:
        return self.ask(site, f"query.{step}", messages.SecureStep(step, self.purpose, body))

    # -- an honest round, as far as a test wants it ----------------------------------------------

    def all_ready(self) -> machine.AttemptState:
        self.keys = {site: _ready(self.ready(site)).keys for site in self.sites}
        state, left_out = machine.open_directory(self._rules, self.binding, self.keys)
        assert not left_out
        return state

    def all_share(self, state: machine.AttemptState) -> machine.AttemptState:
        for site in self.sites:
            answer = _reply(self.step(site, "share", machine.share_request(state))).body
            state = machine.take_share(state, site, answer)
        return machine.fix_sharers(state)

    def all_mask(self, state: machine.AttemptState) -> machine.AttemptState:
        for site in self.sites:
            answer = _reply(self.step(site, "mask", machine.mask_request(state, site)))
            self.in_advance[site] = answer.body
        return machine.fix_survivors(state, self.sites)

    def all_confirm(self, state: machine.AttemptState) -> machine.AttemptState:
        for site in self.sites:
            answer = _reply(self.step(site, "confirm", machine.confirm_request(state))).body
            state = machine.take_confirmation(state, site, answer)
        return state

    def all_unmask(self, state: machine.AttemptState) -> machine.AttemptState:
        for site in self.sites:
            answer = _reply(self.step(site, "unmask", machine.unmask_request(state))).body
            state = machine.take_unmask(state, site, answer)
        return state

    def whole_round(self) -> machine.AttemptState:
        state = self.all_mask(self.all_share(self.all_ready()))
        return self.all_unmask(self.all_confirm(state))

    @property
    def layout(self) -> ContributionLayout:
        manifest = self.setup.manifest
        if self.purpose != "train":
            return evaluation_layout(self.setup.job, len(self.sites))
        return training_layout(
            self.setup.job, len(self.sites), manifest.num_parameters, evaluates=self.evaluate
        )

    @property
    def binding(self) -> RoundBinding:
        buffers = {name: vector.tobytes() for name, vector in self.vectors.items()}
        subject = subject_of(self.setup, self.number, self.attempt)
        question = question_of("train.round", messages.TrainRound(False), subject, buffers)
        return binding_of(self.setup, self.setup.roster, self.purpose, question, self.layout)

    @property
    def _rules(self) -> machine.CoordinatorRules:
        sites = frozenset(self.sites)
        return machine.CoordinatorRules(self.setup.roster, sites, 2, 1, max_sites=len(sites))

    # -- what a hospital has at home --------------------------------------------------------------

    def home(self, site: SiteId) -> Path:
        return self.federation.homes[site]

    def state_of(self, site: SiteId) -> MemberState | None:
        folder = self.home(site) / "runs" / self.setup.manifest.run
        assert folder.is_dir()
        return RoundStore.of(folder, self.purpose, self.number, durable=False).state()

    def audit_of(self, site: SiteId) -> list[dict[str, Any]]:
        """What the site wrote down of this run."""
        file = self.home(site) / AUDIT_FILE
        lines = file.read_text().splitlines() if file.exists() else []
        entries: list[dict[str, Any]] = [json.loads(line) for line in lines]
        return [entry for entry in entries if entry.get("run") == self.setup.manifest.run]


def code_of(answered: Answered) -> str:
    """The code that a hospital refused with, or "" if it did not."""
    if isinstance(answered.message, messages.Refusal):
        return answered.message.code
    return answered.error


def _ready(answered: Answered) -> messages.SecureReady:
    assert isinstance(answered.message, messages.SecureReady), answered
    return answered.message


def _reply(answered: Answered) -> messages.SecureStepReply:
    assert isinstance(answered.message, messages.SecureStepReply), answered
    return answered.message
