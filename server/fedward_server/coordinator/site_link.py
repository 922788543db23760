"""One message to one node, and the verified answer to it, over any Flower Grid.

Whatever is wrong with an answer (unsigned, malformed, a refusal) becomes a `Failure` with a code.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from flwr.app import ArrayRecord, Message
from flwr.serverapp import Grid

from fedward_common.crypto.key_agreement import HybridPrivateKey
from fedward_common.crypto.signing import SigningKey, VerifyingKey
from fedward_common.errors import FedwardError, MalformedMessageError, UnverifiedMessageError
from fedward_common.identities import COORDINATOR, SiteId
from fedward_common.wire import messages
from fedward_common.wire.envelope import (
    Arrays,
    Envelope,
    Subject,
    sign_envelope,
    verify_envelope,
    verify_subject,
)
from fedward_common.wire.flower_records import envelope_of, records_of
from fedward_common.wire.header import Header
from fedward_common.wire.sealed_answers import SealedFor, open_arrays

NODE_UNAVAILABLE = "NODE_UNAVAILABLE"
NOT_IN_ROSTER = "NOT_IN_ROSTER"

_POLL_SECONDS = 0.2
_SEALED_REPLIES = (messages.TrainReply, messages.EvaluateReply)
# A code goes into the journal and the report, so a peer's text never does.
_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,59}")


@dataclass(frozen=True)
class Answer:
    """A verified answer of one site, with its arrays as views of the message's bytes."""

    site: SiteId
    message: messages.Message
    arrays: Arrays


@dataclass(frozen=True)
class Failure:
    """Why one site has no usable answer."""

    site: SiteId
    code: str


@dataclass(frozen=True)
class Question:
    """A message of the coordinator; `arrays` are shared by all who get it, hashed once."""

    flower_type: str
    subject: Subject
    message: messages.Message
    arrays: ArrayRecord
    arrays_sha256: dict[str, str]


@dataclass(frozen=True)
class Sent:
    """A message that was handed to the Grid."""

    message_id: str
    envelope_sha256: str


class SiteLink:
    """Signs, sends and verifies for one run.

    Args:
        grid: Where messages go.
        key: The coordinator's signing key.
        roster: Each site's public key; who is not in it cannot answer.
        answer_key: Opens the vectors of answers; None where they come as they are.
    """

    def __init__(
        self,
        grid: Grid,
        key: SigningKey,
        roster: Mapping[SiteId, VerifyingKey],
        answer_key: HybridPrivateKey | None,
    ) -> None:
        self._grid = grid
        self._key = key
        self._roster = roster
        self._answer_key = answer_key
        self.poll_seconds = float(getattr(grid, "poll_seconds", _POLL_SECONDS))
        """Between two looks for an answer; 0 where the Grid waits by itself."""

    def node_ids(self) -> set[int]:
        """Give the nodes that are connected."""
        return set(self._grid.get_node_ids())

    def push(
        self, question: Question, encoded: tuple[str, bytes], node: int, *, recipient: str
    ) -> Sent:
        """Sign a question and hand it over.

        Args:
            question: Whose message is `encoded`, once for all whom it goes to.
            encoded: Its kind and body.
            node: Where it goes.
            recipient: The site it is for; empty for whichever sits there.
        """
        kind, body = encoded
        envelope = sign_envelope(
            self._key,
            subject=question.subject,
            sender=COORDINATOR,
            recipient=recipient,
            kind=kind,
            body=body,
            arrays_sha256=question.arrays_sha256,
        )
        message = Message(
            content=records_of(envelope, question.arrays),
            dst_node_id=node,
            message_type=question.flower_type,
            group_id=str(question.subject.round),
        )
        (message_id,) = self._grid.push_messages([message])
        return Sent(message_id, envelope.sha256)

    def answer_of(
        self, sent: Sent, question: Question, site: SiteId | None
    ) -> Answer | Failure | None:
        """Give what came for a message; None where nothing has."""
        if site is not None and site not in self._roster:
            return Failure(site, NOT_IN_ROSTER)
        if not sent.message_id:  # the link no longer knows the node
            return Failure(site or SiteId(""), NODE_UNAVAILABLE)
        replies = list(self._grid.pull_messages([sent.message_id]))
        return self._verified(replies[0], sent, question, site) if replies else None

    def _verified(
        self, reply: Message, sent: Sent, question: Question, site: SiteId | None
    ) -> Answer | Failure:
        # An error that the link made carries no site; who was asked is known from the request.
        if reply.has_error():
            code = reply.error.reason or ""
            known = code if _CODE.fullmatch(code) else NODE_UNAVAILABLE
            return Failure(site or SiteId(""), known)
        try:
            envelope, arrays = envelope_of(reply.content)
            return self._opened(envelope, arrays, sent, question.subject, site)
        except FedwardError as error:
            return Failure(site or SiteId(""), error.code)

    def _opened(
        self,
        envelope: Envelope,
        arrays: Arrays,
        sent: Sent,
        subject: Subject,
        site: SiteId | None,
    ) -> Answer | Failure:
        def key_of(header: Header) -> VerifyingKey:
            key = self._roster.get(SiteId(header.sender))
            if key is None or site not in (None, header.sender):
                raise UnverifiedMessageError("the answer is not from the site that was asked")
            return key

        header = verify_envelope(envelope, arrays, key_of)
        claimed = SiteId(header.sender)
        verify_subject(header, subject, recipient=COORDINATOR)
        if header.in_reply_to != sent.envelope_sha256:
            raise UnverifiedMessageError("the answer belongs to another request", code="REPLAY")
        message = messages.decode_message(header.kind, envelope.body)
        if isinstance(message, messages.Refusal):
            if not _CODE.fullmatch(message.code):
                raise MalformedMessageError("a refusal's code is capital letters and '_'")
            return Failure(claimed, message.code)
        if self._answer_key is not None and isinstance(message, _SEALED_REPLIES):
            bound_to = SealedFor(sent.envelope_sha256, claimed)
            arrays = open_arrays(arrays, self._answer_key, bound_to)
        return Answer(claimed, message, arrays)
