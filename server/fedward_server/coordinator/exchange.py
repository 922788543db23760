"""One question to several sites and their verified answers, over any Flower Grid.

Answers are given one at a time in the order of the sites' names, each dropped by the caller before
the next is pulled, so the coordinator never holds more than one. Whatever is wrong with an answer
(late, unsigned, malformed, a refusal) becomes a `Failure` with a code; the others go on.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from flwr.app import ArrayRecord, Message
from flwr.serverapp import Grid

from fedward_common.clock import Clock
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
from fedward_server.coordinator.acceptance import NOT_ANSWERED, EarlyStart

LATE = "LATE"
NODE_UNAVAILABLE = "NODE_UNAVAILABLE"
NOT_IN_ROSTER = "NOT_IN_ROSTER"
UNEXPECTED_ANSWER = "UNEXPECTED_ANSWER"

# With these a site says that a person there has not decided yet, or will let it work again.
_DECIDING = frozenset({"WAITING_FOR_APPROVAL", "ROSTER_NOT_ACCEPTED"})
_NOT_YET = _DECIDING | {"SITE_PAUSED"}

_POLL_SECONDS = 0.2
_ASK_AGAIN_SECONDS = 5.0
# A node that was killed connects again within half a minute.
_NODE_RETURNS_SECONDS = 60.0
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
class _Sent:
    message_id: str
    envelope_sha256: str


@dataclass
class _Search:
    """Who was asked for and who answered, until all have or the deadline is over."""

    begun: float
    ends: float
    asked: set[int] = field(default_factory=set)
    waiting: dict[int, _Sent] = field(default_factory=dict)
    found: dict[SiteId, Answer | Failure] = field(default_factory=dict)
    not_yet: dict[SiteId, Failure] = field(default_factory=dict)
    ask_again_at: dict[int, float] = field(default_factory=dict)
    undecided: dict[int, float] = field(default_factory=dict)
    told: dict[SiteId, str] = field(default_factory=dict)


class Exchange:
    """Signs, sends, waits and verifies for one run.

    Args:
        grid: Where messages go; polled without waiting where it waits by itself.
        key: The coordinator's signing key.
        roster: Each site's public key; who is not in it cannot answer. It may shrink: who is gone
            from it is asked nothing more, and is not waited for.
        clock: Deadlines are counted on it.
        answer_key: Opens the vectors of answers; None where they come as they are.
    """

    def __init__(
        self,
        grid: Grid,
        key: SigningKey,
        roster: Mapping[SiteId, VerifyingKey],
        clock: Clock,
        answer_key: HybridPrivateKey | None = None,
    ) -> None:
        self._grid = grid
        self._key = key
        self._roster = roster
        self._clock = clock
        self._answer_key = answer_key
        self._nodes: dict[SiteId, int] = {}
        self._poll_seconds = float(getattr(grid, "poll_seconds", _POLL_SECONDS))

    def find_sites(
        self, question: Question, deadline_seconds: float, early: EarlyStart | None = None
    ) -> list[Answer | Failure]:
        """Ask every node, and learn from the signed answers which site sits where.

        Nodes connect one after the other, and again after a restart: whoever comes is asked as it
        comes, until every site of the roster has answered or the deadline is over. A site where a
        person has yet to decide is asked again. A site that no node answered for by then is
        `NODE_UNAVAILABLE`.

        Args:
            question: To each.
            deadline_seconds: Nobody is waited for longer.
            early: When only those are waited for that are at work, or where a person has the
                question in hand; None for never.
        """
        now = self._clock.now_seconds()
        search = _Search(now, now + deadline_seconds)
        try:
            self._search(search, question, early)
        finally:
            if search.told and early is not None:
                early.waits({})
        for site in self._roster:
            unanswered = search.not_yet.get(site, Failure(site, NODE_UNAVAILABLE))
            search.found.setdefault(site, unanswered)
        return [search.found[site] for site in sorted(search.found)]

    def _search(self, search: _Search, question: Question, early: EarlyStart | None) -> None:
        encoded = messages.encode_message(question.message)
        while True:
            self._forget_those_to_ask_again(search)
            for node in sorted(set(self._grid.get_node_ids()) - search.asked):
                search.asked.add(node)
                search.waiting[node] = self._push(question, encoded, node, recipient="")
            for node in sorted(search.waiting):
                outcome = self._answer_of(search.waiting[node], question, None)
                if outcome is not None:
                    del search.waiting[node]
                    self._take(outcome, node, search)
            if self._is_found(search.found, search.waiting):
                break
            if self._clock.now_seconds() >= search.ends or self._may_begin(search, early):
                break
            if self._poll_seconds:
                self._clock.sleep(self._poll_seconds)

    def _may_begin(self, search: _Search, early: EarlyStart | None) -> bool:
        """Tell who is waited for, and say whether the run may begin without them."""
        if early is None:
            return False
        waited_for = {
            site: search.not_yet[site].code if site in search.not_yet else NOT_ANSWERED
            for site in self._roster
            if site not in search.found
        }
        if waited_for != search.told:
            search.told = waited_for
            early.waits(waited_for)
        now = self._clock.now_seconds()
        if now < search.begun + early.after_seconds or self._is_at_work(search, now):
            return False
        if _DECIDING.intersection(waited_for.values()):
            return False
        found = search.found.items()
        return early.is_enough([site for site, came in found if isinstance(came, Answer)])

    def _is_at_work(self, search: _Search, now: float) -> bool:
        """Whether a site was asked that does more than to say that it has not decided."""
        return any(
            now >= search.undecided.get(node, -_ASK_AGAIN_SECONDS) + 2 * _ASK_AGAIN_SECONDS
            for node in search.waiting
        )

    def _forget_those_to_ask_again(self, search: _Search) -> None:
        now = self._clock.now_seconds()
        for node in [node for node, at in search.ask_again_at.items() if now >= at]:
            del search.ask_again_at[node]
            search.asked.discard(node)

    def _take(self, outcome: Answer | Failure, node: int, search: _Search) -> None:
        if not outcome.site:
            if isinstance(outcome, Failure) and outcome.code == NODE_UNAVAILABLE:
                search.asked.discard(node)  # it may come back
            return
        is_known = outcome.site in search.found or not self._poll_seconds
        if isinstance(outcome, Failure) and outcome.code in _NOT_YET and not is_known:
            search.not_yet[outcome.site] = outcome
            search.undecided[node] = self._clock.now_seconds()
            search.ask_again_at[node] = search.undecided[node] + _ASK_AGAIN_SECONDS
            return
        if outcome.site in search.found:
            outcome = Failure(outcome.site, "SITE_ANSWERED_TWICE")
        search.found[outcome.site] = outcome
        self._nodes[outcome.site] = node

    def _is_found(self, found: Mapping[SiteId, object], waiting: Mapping[int, object]) -> bool:
        """Whether nobody is left to wait for."""
        if self._poll_seconds:
            return found.keys() >= self._roster.keys()
        # A Grid that waits by itself is a simulated one: all its nodes are there from the start.
        return not waiting

    def wait_for_nodes(self, failures: Collection[Failure]) -> None:
        """Give nodes that were not connected a minute to come back, before their sites are asked.

        A simulated Grid's nodes do not go.

        Args:
            failures: Of the attempt before; those for other reasons are no reason to wait.
        """
        gone = {f.site for f in failures if f.code == NODE_UNAVAILABLE} & self._nodes.keys()
        ends = self._clock.now_seconds() + _NODE_RETURNS_SECONDS
        while self._poll_seconds and self._clock.now_seconds() < ends:
            connected = set(self._grid.get_node_ids())
            if all(self._nodes[site] in connected for site in gone if site in self._roster):
                return
            self._clock.sleep(self._poll_seconds)

    def ask(
        self, question: Question, sites: list[SiteId], deadline_seconds: float
    ) -> Iterator[Answer | Failure]:
        """Ask these sites and give each one's answer or failure, in the order of `sites`."""
        return self.ask_each(dict.fromkeys(sites, question), deadline_seconds)

    def ask_each(
        self, questions: Mapping[SiteId, Question], deadline_seconds: float
    ) -> Iterator[Answer | Failure]:
        """Ask each site its own question; answers and failures come in the order of `questions`."""
        sent = {}
        last: Question | None = None
        for site, question in questions.items():
            if site not in self._nodes or site not in self._roster:
                continue
            if question is not last:
                encoded, last = messages.encode_message(question.message), question
            sent[site] = self._push(question, encoded, self._nodes[site], recipient=site)
        ends = self._clock.now_seconds() + deadline_seconds
        for site, question in questions.items():
            if site not in sent:  # no node answered for it when the run went on
                yield Failure(site, NODE_UNAVAILABLE if site in self._roster else NOT_IN_ROSTER)
                continue
            # Named by nothing here: a vector would live on while the next one is pulled.
            yield self._await(sent[site], question, ends, site) or Failure(site, LATE)

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
            outcome = self._answer_of(sent, question, site)
            if outcome is not None:
                return outcome
            if self._clock.now_seconds() >= ends:
                return None
            if self._poll_seconds:
                self._clock.sleep(self._poll_seconds)

    def _answer_of(
        self, sent: _Sent, question: Question, site: SiteId | None
    ) -> Answer | Failure | None:
        """Give what came for a message; None where nothing has."""
        if site is not None and site not in self._roster:
            return Failure(site, NOT_IN_ROSTER)
        if not sent.message_id:  # the link no longer knows the node
            return Failure(site or SiteId(""), NODE_UNAVAILABLE)
        replies = list(self._grid.pull_messages([sent.message_id]))
        return self._verified(replies[0], sent, question, site) if replies else None

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
