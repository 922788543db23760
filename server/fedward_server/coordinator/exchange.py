"""One question to several sites and their verified answers, over any Flower Grid.

Answers are given one at a time in the order of the sites' names, each dropped by the caller before
the next is pulled, so the coordinator never holds more than one. Whatever is wrong with an answer
(late, unsigned, malformed, a refusal) becomes a `Failure` with a code; the others go on.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from flwr.app import ArrayRecord, Message
from flwr.serverapp import Grid

from fedward_common.clock import Clock
from fedward_common.crypto.signing import SigningKey, VerifyingKey
from fedward_common.errors import FedwardError, MalformedMessageError, UnverifiedMessageError
from fedward_common.identities import COORDINATOR, SiteId
from fedward_common.wire import messages
from fedward_common.wire.envelope import (
    Arrays,
    Envelope,
    Header,
    Subject,
    sign_envelope,
    verify_envelope,
    verify_subject,
)
from fedward_common.wire.flower_records import envelope_of, records_of

LATE = "LATE"
NODE_UNAVAILABLE = "NODE_UNAVAILABLE"
UNEXPECTED_ANSWER = "UNEXPECTED_ANSWER"

_POLL_SECONDS = 0.2
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
class _Sent:
    message_id: str
    envelope_sha256: str


class Exchange:
    """Signs, sends, waits and verifies for one run.

    Args:
        grid: Where messages go; polled without waiting where it waits by itself.
        key: The coordinator's signing key.
        roster: Each site's public key; who is not in it cannot answer.
        clock: Deadlines are counted on it.
    """

    def __init__(
        self, grid: Grid, key: SigningKey, roster: Mapping[SiteId, VerifyingKey], clock: Clock
    ) -> None:
        self._grid = grid
        self._key = key
        self._roster = roster
        self._clock = clock
        self._nodes: dict[SiteId, int] = {}
        self._poll_seconds = float(getattr(grid, "poll_seconds", _POLL_SECONDS))

    def find_sites(self, question: Question, deadline_seconds: float) -> list[Answer | Failure]:
        """Ask every node, and learn from the signed answers which site sits where.

        A site of the roster that no node answered for is `NODE_UNAVAILABLE`.
        """
        nodes = sorted(self._grid.get_node_ids())
        encoded = messages.encode_message(question.message)
        sent = [self._push(question, encoded, node, recipient="") for node in nodes]
        ends = self._clock.now_seconds() + deadline_seconds
        found: dict[SiteId, Answer | Failure] = {}
        for node, item in zip(nodes, sent, strict=True):
            outcome = self._await(item, question, ends, None)
            if outcome is None or (isinstance(outcome, Failure) and not outcome.site):
                continue
            if outcome.site in found:
                outcome = Failure(outcome.site, "SITE_ANSWERED_TWICE")
            found[outcome.site] = outcome
            self._nodes[outcome.site] = node
        for site in self._roster:
            found.setdefault(site, Failure(site, NODE_UNAVAILABLE))
        return [found[site] for site in sorted(found)]

    def ask(
        self, question: Question, sites: list[SiteId], deadline_seconds: float
    ) -> Iterator[Answer | Failure]:
        """Ask these sites and give each one's answer or failure, in the order of `sites`."""
        there = [site for site in sites if site in self._nodes]
        encoded = messages.encode_message(question.message)
        sent = {s: self._push(question, encoded, self._nodes[s], recipient=s) for s in there}
        ends = self._clock.now_seconds() + deadline_seconds
        for site in sites:
            if site not in sent:  # no node answered for it when the run went on
                yield Failure(site, NODE_UNAVAILABLE)
                continue
            outcome = self._await(sent[site], question, ends, site)
            yield Failure(site, LATE) if outcome is None else outcome

    def _push(
        self, question: Question, encoded: tuple[str, bytes], node: int, *, recipient: str
    ) -> _Sent:
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
        return _Sent(message_id, envelope.sha256)

    def _await(
        self, sent: _Sent, question: Question, ends: float, site: SiteId | None
    ) -> Answer | Failure | None:
        while True:
            replies = list(self._grid.pull_messages([sent.message_id]))
            if replies:
                return self._verified(replies[0], sent, question, site)
            if self._clock.now_seconds() >= ends:
                return None
            if self._poll_seconds:
                self._clock.sleep(self._poll_seconds)

    def _verified(
        self, reply: Message, sent: _Sent, question: Question, site: SiteId | None
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
        sent: _Sent,
        subject: Subject,
        site: SiteId | None,
    ) -> Answer | Failure:
        def key_of(header: Header) -> VerifyingKey:
            if header.sender not in self._roster or site not in (None, header.sender):
                raise UnverifiedMessageError("the answer is not from the site that was asked")
            return self._roster[SiteId(header.sender)]

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
        return Answer(claimed, message, arrays)
