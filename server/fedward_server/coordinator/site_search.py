"""Which site sits at which node, learnt from the signed answers to one question to all.

Nodes connect one after the other, and again after a restart: whoever comes is asked as it comes,
and who comes when the others have begun already is found for the rounds after.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from fedward_common.clock import Clock
from fedward_common.identities import SiteId
from fedward_common.wire import messages
from fedward_server.coordinator.site_link import (
    NODE_UNAVAILABLE,
    Answer,
    Failure,
    Question,
    Sent,
    SiteLink,
)
from fedward_server.coordinator.waiting import NOT_ANSWERED, Patience

# With these a site says that a person there has not decided yet, or will let it work again.
_DECIDING = frozenset({"WAITING_FOR_APPROVAL", "ROSTER_NOT_ACCEPTED"})
_NOT_YET = _DECIDING | {"SITE_PAUSED"}

_ASK_AGAIN_SECONDS = 5.0


@dataclass
class _Search:
    """Who was asked for and who answered, until all have or the deadline is over, and after."""

    question: Question
    encoded: tuple[str, bytes]
    begun: float
    ends: float
    is_over: bool = False
    asked: set[int] = field(default_factory=set)
    waiting: dict[int, Sent] = field(default_factory=dict)
    found: dict[SiteId, Answer | Failure] = field(default_factory=dict)
    not_yet: dict[SiteId, Failure] = field(default_factory=dict)
    ask_again_at: dict[int, float] = field(default_factory=dict)
    undecided: dict[int, float] = field(default_factory=dict)
    told: dict[SiteId, str] = field(default_factory=dict)


class SiteSearch:
    """Finds the sites of a roster.

    Args:
        link: Asks nodes.
        roster: Who is looked for.
        clock: Deadlines are counted on it.
    """

    def __init__(self, link: SiteLink, roster: Collection[SiteId], clock: Clock) -> None:
        self._link = link
        self._roster = roster
        self._clock = clock
        self.nodes: dict[SiteId, int] = {}
        """Where each site sits that was found."""
        self._last: _Search | None = None

    def find(
        self, question: Question, deadline_seconds: float, patience: Patience | None = None
    ) -> list[Answer | Failure]:
        """Ask every node until each site has answered or the deadline is over.

        A site where a person has yet to decide is asked again.

        Args:
            question: To each.
            deadline_seconds: Nobody is waited for longer.
            patience: When only those are waited for that are at work, or where a person has the
                question in hand; None for never.
        """
        now = self._clock.now_seconds()
        encoded = messages.encode_message(question.message)
        search = self._last = _Search(question, encoded, now, now + deadline_seconds)
        try:
            self._search(search, patience)
        finally:
            search.is_over = True
            if search.told and patience is not None:
                patience.tell({})
        outcomes = dict(search.found)
        for site in self._roster:
            unanswered = search.not_yet.get(site, Failure(site, NODE_UNAVAILABLE))
            outcomes.setdefault(site, unanswered)
        return [outcomes[site] for site in sorted(outcomes)]

    def look_again(self) -> None:
        """Take what came since, and ask whoever connected; nobody is waited for."""
        if self._last is not None and self._link.poll_seconds:
            self._look(self._last)

    def _look(self, search: _Search) -> None:
        self._forget_those_to_ask_again(search)
        for node in sorted(self._link.node_ids() - search.asked):
            search.asked.add(node)
            sent = self._link.push(search.question, search.encoded, node, recipient="")
            search.waiting[node] = sent
        for node in sorted(search.waiting):
            self._link.send_again_if_lost(search.waiting[node])
            outcome = self._link.answer_of(search.waiting[node], None)
            if outcome is not None:
                del search.waiting[node]
                self._take(outcome, node, search)

    def _search(self, search: _Search, patience: Patience | None) -> None:
        while True:
            self._look(search)
            if self._is_found(search.found, search.waiting):
                break
            if self._clock.now_seconds() >= search.ends or self._may_begin(search, patience):
                break
            if self._link.poll_seconds:
                self._clock.sleep(self._link.poll_seconds)

    def _may_begin(self, search: _Search, patience: Patience | None) -> bool:
        """Tell who is waited for, and say whether the run may begin without them."""
        if patience is None:
            return False
        waited_for = {
            site: search.not_yet[site].code if site in search.not_yet else NOT_ANSWERED
            for site in self._roster
            if site not in search.found
        }
        if waited_for != search.told:
            search.told = waited_for
            patience.tell(waited_for)
        now = self._clock.now_seconds()
        if now < search.begun + patience.after_seconds or self._is_at_work(search, now):
            return False
        if _DECIDING.intersection(waited_for.values()):
            return False
        found = search.found.items()
        return patience.is_enough([site for site, came in found if isinstance(came, Answer)])

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
        is_known = outcome.site in search.found or not self._link.poll_seconds
        if isinstance(outcome, Failure) and outcome.code in _NOT_YET and not is_known:
            search.not_yet[outcome.site] = outcome
            search.undecided[node] = self._clock.now_seconds()
            search.ask_again_at[node] = search.undecided[node] + _ASK_AGAIN_SECONDS
            return
        if outcome.site in search.found:
            if search.is_over:
                return  # where it sits is settled
            outcome = Failure(outcome.site, "SITE_ANSWERED_TWICE")
        search.found[outcome.site] = outcome
        self.nodes[outcome.site] = node

    def _is_found(self, found: Mapping[SiteId, object], waiting: Mapping[int, object]) -> bool:
        """Whether nobody is left to wait for."""
        if self._link.poll_seconds:
            return found.keys() >= set(self._roster)
        # A Grid that waits by itself is a simulated one: all its nodes are there from the start.
        return not waiting
