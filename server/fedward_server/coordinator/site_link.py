"""One message to one node, and the verified answer to it, over any Flower Grid.

Whatever is wrong with an answer (unsigned, malformed, a refusal) becomes a `Failure` with a code.
A message that was lost, or its answer, is sent once more with the very same bytes: a site gives the
same answer to the same question, and the first that comes counts.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flwr.app import ArrayRecord, Message
from flwr.common.constant import ErrorCode
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
from fedward_common.wire.kept_envelope import SignedExchange
from fedward_common.wire.sealed_answers import SealedFor, open_arrays

NODE_UNAVAILABLE = "NODE_UNAVAILABLE"
NOT_IN_ROSTER = "NOT_IN_ROSTER"

_POLL_SECONDS = 0.2
_MOST_TIMES_SENT = 4
_SEALED_REPLIES = (messages.TrainReply, messages.EvaluateReply)
# A code goes into the journal and the report, so a peer's text never does.
_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,59}")


@dataclass(frozen=True)
class Answer:
    """A verified answer of one site, with its arrays as views of the message's bytes.

    Attributes:
        signed: What was signed on both sides; empty of arrays.
    """

    site: SiteId
    message: messages.Message
    arrays: Arrays
    signed: SignedExchange | None = None


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
    """A message that was handed to the Grid, more than once where it was lost.

    Attributes:
        question: What it asks.
        envelope: Signed once.
        node: Where it went.
        message_ids: Of the Grid's, oldest first; an empty one is of a node that it does not know.
    """

    question: Question
    envelope: Envelope
    node: int
    message_ids: list[str]

    @property
    def is_known(self) -> bool:
        """Whether the Grid knows the node."""
        return bool(self.message_ids[-1])


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
        self._is_lost: Callable[[str], bool] = getattr(grid, "is_lost", _nothing_is_lost)
        self._first_answered: Callable[[list[str]], str | None] | None = getattr(
            grid, "first_answered", None
        )

    @property
    def has_rounds_in_memory(self) -> bool:
        """Whether the Grid's sites keep rounds in memory alone; it may end, with all of them."""
        return bool(getattr(self._grid, "has_rounds_in_memory", False))

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
        return Sent(question, envelope, node, [self._hand_over(question, envelope, node)])

    def _hand_over(self, question: Question, envelope: Envelope, node: int) -> str:
        message = Message(
            content=records_of(envelope, question.arrays),
            dst_node_id=node,
            message_type=question.flower_type,
            group_id=str(question.subject.round),
        )
        (message_id,) = self._grid.push_messages([message])
        return message_id

    def send_again_if_lost(self, sent: Sent) -> None:
        """Send a message once more where no answer comes to it, so often and no more."""
        if sent.is_known and self._is_lost(sent.message_ids[-1]):
            self._send_again(sent)

    def _send_again(self, sent: Sent) -> bool:
        if len(sent.message_ids) >= _MOST_TIMES_SENT:
            return False
        sent.message_ids.append(self._hand_over(sent.question, sent.envelope, sent.node))
        return True

    @property
    def tells_who_answered(self) -> bool:
        """Whether the Grid can tell whose answer is there, without giving it.

        It has to wait by itself and to lose nothing: whoever waits for the first of many answers
        neither sleeps nor sends anything again.
        """
        may_lose = self._is_lost is not _nothing_is_lost
        return self._first_answered is not None and not self.poll_seconds and not may_lose

    def first_answered(self, sent: Mapping[SiteId, Sent]) -> SiteId | None:
        """Give a site whose answer is there; None where none is, after the Grid waited a moment."""
        if self._first_answered is None:
            return None
        newest = {message.message_ids[-1]: site for site, message in sent.items()}
        message_id = self._first_answered(list(newest))
        return None if message_id is None else newest[message_id]

    def answer_of(self, sent: Sent, site: SiteId | None) -> Answer | Failure | None:
        """Give what came for a message; None where nothing has."""
        if site is not None and site not in self._roster:
            return Failure(site, NOT_IN_ROSTER)
        if not sent.is_known:
            return Failure(site or SiteId(""), NODE_UNAVAILABLE)
        for message_id in sent.message_ids:
            for reply in self._grid.pull_messages([message_id]):
                is_newest = message_id == sent.message_ids[-1]
                if reply.has_error() and not is_newest:
                    continue  # it was lost, and sent again
                if _is_cut_short(reply) and self._send_again(sent):
                    return None
                return self._verified(reply, sent, site)
        return None

    def _verified(self, reply: Message, sent: Sent, site: SiteId | None) -> Answer | Failure:
        # An error that the link made carries no site; who was asked is known from the request.
        if reply.has_error():
            code = reply.error.reason or ""
            known = code if _CODE.fullmatch(code) else NODE_UNAVAILABLE
            return Failure(site or SiteId(""), known)
        try:
            envelope, arrays = envelope_of(reply.content)
            return self._opened(envelope, arrays, sent, site)
        except FedwardError as error:
            return Failure(site or SiteId(""), error.code)

    def _opened(
        self,
        envelope: Envelope,
        arrays: Arrays,
        sent: Sent,
        site: SiteId | None,
    ) -> Answer | Failure:
        def key_of(header: Header) -> VerifyingKey:
            key = self._roster.get(SiteId(header.sender))
            if key is None or site not in (None, header.sender):
                raise UnverifiedMessageError("the answer is not from the site that was asked")
            return key

        # Of which version it is, is compared with the question's like all else of its subject.
        header = verify_envelope(envelope, arrays, key_of, any_protocol=True)
        claimed = SiteId(header.sender)
        verify_subject(header, sent.question.subject, recipient=COORDINATOR)
        request_sha256 = sent.envelope.sha256
        if header.in_reply_to != request_sha256:
            raise UnverifiedMessageError("the answer belongs to another request", code="REPLAY")
        message = messages.decode_message(header.kind, envelope.body)
        if isinstance(message, messages.Refusal):
            if not _CODE.fullmatch(message.code):
                raise MalformedMessageError("a refusal's code is capital letters and '_'")
            return Failure(claimed, message.code)
        if self._answer_key is not None and isinstance(message, _SEALED_REPLIES):
            bound_to = SealedFor(request_sha256, claimed)
            arrays = open_arrays(arrays, self._answer_key, bound_to)
        return Answer(claimed, message, arrays, SignedExchange(sent.envelope, envelope))


def _is_cut_short(reply: Message) -> bool:
    """Say whether the link has a message or its answer no longer, or never had it whole."""
    return reply.has_error() and reply.error.code == ErrorCode.MESSAGE_UNAVAILABLE


def _nothing_is_lost(message_id: str) -> bool:
    """Say so of a Grid that cannot know."""
    del message_id
    return False
