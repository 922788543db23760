"""One site, asked as the coordinator does or as somebody else might."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Message, RecordDict
from numpy.typing import NDArray
from tests.tiny_federation import TinyFederation

from fedward_client.daemon.app import app
from fedward_common.crypto.signing import SigningKey
from fedward_common.identities import COORDINATOR, SiteId
from fedward_common.wire import messages
from fedward_common.wire.envelope import Subject, hashes_of_arrays, sign_envelope
from fedward_common.wire.flower_records import array_record, envelope_of, records_of
from fedward_common.wire.header import decode_header
from fedward_common.wire.sealed_answers import SealedFor, open_arrays
from fedward_server.coordinator.run_setup import RunSetup
from fedward_server.simulation.in_process_grid import InTurnGrid, node_context

SITE = SiteId("birch")
NODE = 100
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Answered:
    """What came back: a verified message and arrays, or the code of an error reply."""

    message: messages.Message | None
    arrays: dict[str, Any]
    error: str
    text: str


@dataclass
class Coordinator:
    """Asks one site, as the coordinator does or as somebody else might."""

    federation: TinyFederation
    setup: RunSetup
    key: SigningKey

    @property
    def weights(self) -> NDArray[np.float32]:
        return self.setup.initial_weights()

    def ask(
        self,
        flower_type: str,
        message: messages.Message,
        arrays: Arrays | None = None,
        *,
        subject: Subject | None = None,
        key: SigningKey | None = None,
        sender: str = COORDINATOR,
        recipient: str = SITE,
        body: bytes | None = None,
    ) -> Answered:
        arrays = arrays or {}
        kind, encoded = messages.encode_message(message)
        envelope = sign_envelope(
            key or self.key,
            subject=subject or self.subject(),
            sender=sender,
            recipient=recipient,
            kind=kind,
            body=encoded if body is None else body,
            arrays_sha256=hashes_of_arrays(arrays),
        )
        return self.deliver(flower_type, records_of(envelope, array_record(arrays)))

    def deliver(self, flower_type: str, records: RecordDict) -> Answered:
        InTurnGrid({})  # gives this process the identity that Flower's messages ask for
        request = Message(records, dst_node_id=NODE, message_type=flower_type)
        request.metadata.__dict__["_message_id"] = "m1"
        context = node_context(NODE, {"site-home": str(self.federation.homes[SITE])})
        reply = app(request, context)
        if reply.has_error():
            return Answered(None, {}, reply.error.reason or "", repr(reply.error))
        envelope, answer = envelope_of(reply.content)
        header = decode_header(envelope.header_bytes)
        self.setup.roster.entry_of(SITE).key.verify(
            envelope.signature, envelope.header_bytes, context="fedward envelope v1"
        )
        message = messages.decode_message(header.kind, envelope.body)
        if self.setup.answer_key is not None and answer:
            bound_to = SealedFor(envelope_of(records)[0].sha256, SITE)
            answer = open_arrays(answer, self.setup.answer_key, bound_to)
        return Answered(message, dict(answer), "", repr((envelope, header)))

    def subject(self, number: int = 1, **changes: Any) -> Subject:
        setup = self.setup
        fields: dict[str, Any] = {
            "consortium": setup.manifest.consortium,
            "run": setup.manifest.run,
            "manifest_sha256": setup.manifest_sha256,
            "round": number,
            "attempt": 1,
        }
        return Subject(**(fields | changes))

    def propose(self) -> Answered:
        query = messages.ManifestQuery(self.setup.manifest_bytes, self.setup.roster_bytes)
        return self.ask("query.manifest", query, subject=self.subject(0, manifest_sha256=""))

    def train(self, **changes: Any) -> Answered:
        arrays = changes.pop("arrays", {messages.WEIGHTS: self.weights})
        return self.ask("train.round", messages.TrainRound(evaluate=False), arrays, **changes)
