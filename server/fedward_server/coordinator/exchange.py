"""One question to several sites and their verified answers, over any Flower Grid.

Answers are given one at a time, each dropped by the caller before the next is pulled, so the
coordinator need not hold more than one; in the order of the sites' names, or as they come. Whatever
is wrong with an answer (late, unsigned, malformed, a refusal) becomes a `Failure` with a code; the
others go on.
"""

from collections.abc import Collection, Iterator, Mapping

from flwr.serverapp import Grid

from fedward_common.clock import Clock
from fedward_common.crypto.key_agreement import HybridPrivateKey
from fedward_common.crypto.signing import SigningKey, VerifyingKey
from fedward_common.identities import SiteId
from fedward_common.wire import messages
from fedward_server.coordinator.site_link import (
    NODE_UNAVAILABLE,
    NOT_IN_ROSTER,
    Sent,
    SiteLink,
)
from fedward_server.coordinator.site_link import Answer as Answer
from fedward_server.coordinator.site_link import Failure as Failure
from fedward_server.coordinator.site_link import Question as Question
from fedward_server.coordinator.site_search import SiteSearch
from fedward_server.coordinator.waiting import Patience

LATE = "LATE"
UNEXPECTED_ANSWER = "UNEXPECTED_ANSWER"

# Each look asks Flower's database, and a wait may take hours.
_LOOK_SECONDS = 1.0


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
        self._roster = roster
        self._clock = clock
        self._link = SiteLink(grid, key, roster, answer_key)
        self._sites = SiteSearch(self._link, roster, clock)

    @property
    def has_rounds_in_memory(self) -> bool:
        """Whether the sites keep rounds in memory alone, as a simulation's may, at this moment."""
        return self._link.has_rounds_in_memory

    def find_sites(
        self, question: Question, deadline_seconds: float, patience: Patience | None = None
    ) -> list[Answer | Failure]:
        """Ask every node, and learn from the signed answers which site sits where.

        Nodes connect one after the other, and again after a restart: whoever comes is asked as it
        comes, until every site of the roster has answered or the deadline is over. A site where a
        person has yet to decide is asked again. A site that no node answered for by then is
        `NODE_UNAVAILABLE`.

        Args:
            question: To each.
            deadline_seconds: Nobody is waited for longer.
            patience: When only those are waited for that are at work, or where a person has the
                question in hand; None for never.
        """
        return self._sites.find(question, deadline_seconds, patience)

    def wait_for_nodes(
        self,
        sites: Collection[SiteId],
        deadline_seconds: float,
        patience: Patience,
        briefly: Collection[SiteId] = (),
    ) -> set[SiteId]:
        """Let nodes that are not connected come back, before their sites are asked again.

        A simulated Grid's nodes do not go.

        Args:
            sites: Whose nodes; who is gone from the roster is not waited for.
            deadline_seconds: Nobody is waited for longer, but for the time of `patience`.
            patience: When those who are connected suffice.
            briefly: Who is waited for only as long as everybody is.

        Returns:
            Who was waited for in vain, where the deadline is over and the others do not suffice.
        """
        begun = self._clock.now_seconds()
        ends = begun + max(deadline_seconds, patience.after_seconds)
        told: set[SiteId] = set()
        away: set[SiteId] = set()
        try:
            while self._link.poll_seconds:
                there, now = self._connected_sites(), self._clock.now_seconds()
                away = (self._roster.keys() & sites) - there
                is_long = now >= begun + patience.after_seconds
                if not away:
                    return away
                if is_long and (away.issubset(briefly) or patience.is_enough(there)):
                    return set()
                if now >= ends:
                    break
                if away != told:
                    told = away
                    patience.tell(dict.fromkeys(told, NODE_UNAVAILABLE))
                self._clock.sleep(max(self._link.poll_seconds, _LOOK_SECONDS))
        finally:
            if told:
                patience.tell({})
        return away

    def away(self, sites: Collection[SiteId]) -> set[SiteId]:
        """Give those of these sites, as far as they are in the roster, that are not connected."""
        return (self._roster.keys() & sites) - self._connected_sites()

    def _connected_sites(self) -> set[SiteId]:
        """Give the sites whose nodes are connected, after a look for those that came since."""
        if self._roster.keys() - self._sites.nodes.keys():
            self._sites.look_again()
        connected = self._link.node_ids()
        found = self._sites.nodes.items()
        return {site for site, node in found if node in connected and site in self._roster}

    def ask(
        self, question: Question, sites: list[SiteId], deadline_seconds: float
    ) -> Iterator[Answer | Failure]:
        """Ask these sites and give each one's answer or failure, in the order of `sites`."""
        return self.ask_each(dict.fromkeys(sites, question), deadline_seconds)

    def ask_each(
        self,
        questions: Mapping[SiteId, Question],
        deadline_seconds: float,
        *,
        as_they_come: bool = False,
    ) -> Iterator[Answer | Failure]:
        """Ask each site its own question; give outcomes in that order, or as they come.

        A site that was not there when the run went on is looked for, and asked once it was found.

        Args:
            questions: By site.
            deadline_seconds: For all of them.
            as_they_come: Give whose answer is there first, where the Grid can tell: whoever adds
                vectors up in any order need not leave them lying while a slower site works.
        """
        if any(site in self._roster for site in questions.keys() - self._sites.nodes.keys()):
            self._sites.look_again()
        sent = {}
        last: Question | None = None
        for site, question in questions.items():
            if site not in self._sites.nodes or site not in self._roster:
                continue
            if question is not last:
                encoded, last = messages.encode_message(question.message), question
            sent[site] = self._link.push(question, encoded, self._sites.nodes[site], recipient=site)
        ends = self._clock.now_seconds() + deadline_seconds
        left, is_any = list(questions), as_they_come and self._link.tells_who_answered
        while left:
            site = self._whose_turn(left[0], sent, ends) if is_any else left[0]
            left.remove(site)
            if site not in sent:  # no node answered for it
                yield Failure(site, NODE_UNAVAILABLE if site in self._roster else NOT_IN_ROSTER)
                continue
            # Named by nothing here: a vector would live on while the next one is pulled.
            yield self._await(sent, site, ends) or Failure(site, LATE)
            del sent[site]

    def _whose_turn(self, first: SiteId, sent: Mapping[SiteId, Sent], ends: float) -> SiteId:
        """Wait until somebody's answer is there; give who is first, where nobody's came in time."""
        # Past the end nobody is waited for any more, so no worker should be given more work.
        while first in sent and first in self._roster and self._clock.now_seconds() < ends:
            there = self._link.first_answered(sent)
            if there is not None:
                return there
        return first

    def _await(
        self, sent: Mapping[SiteId, Sent], site: SiteId, ends: float
    ) -> Answer | Failure | None:
        """Wait for one site's answer; what the others have lost meanwhile is sent again too."""
        while True:
            for waiting in sent.values():
                self._link.send_again_if_lost(waiting)
            outcome = self._link.answer_of(sent[site], site)
            if outcome is not None:
                return outcome
            if self._clock.now_seconds() >= ends:
                return None
            if self._link.poll_seconds:
                self._clock.sleep(self._link.poll_seconds)
