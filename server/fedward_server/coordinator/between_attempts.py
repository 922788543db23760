"""Before sites are asked again: those whose nodes are gone are given time to come back.

For a minute everybody whose node is gone is waited for; then, until `quorum.deadline_seconds`, as
many as there can be no sum without. A wait in vain changes nothing but the time: what is left of
the attempts is made all the same, and who was waited for in vain is given a minute from then on,
until it is back.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from fedward_common.identities import SiteId
from fedward_common.secagg import refusal_codes as codes
from fedward_common.wire import messages
from fedward_server.coordinator.exchange import Exchange, Failure
from fedward_server.coordinator.quorum import Accepted, has_quorum
from fedward_server.coordinator.round_failures import are_for_good
from fedward_server.coordinator.run_setup import RunSetup
from fedward_server.coordinator.site_link import NODE_UNAVAILABLE
from fedward_server.coordinator.waiting import Patience, teller_of

# A node that was killed connects again within half a minute.
_NODE_RETURNS_SECONDS = 60.0
# With one of these a site says that it would take part if more others did.
_FOR_WANT_OF_OTHERS = frozenset(
    {
        codes.MASKED_BEFORE,
        codes.TOO_FEW_SITES,
        codes.TOO_FEW_ORGANISATIONS,
        codes.ORGANISATION_TOO_LARGE,
    }
)


@dataclass(frozen=True)
class Missed:
    """An attempt at a sum that too few sites were in.

    Attributes:
        purpose: What the sum is for.
        accepted: Terms of every site that accepted the run.
        fewest: Sites that another attempt cannot do without, whatever the quorum.
        failures: Why sites were not in it.
        is_repeated: Whether another was missed before it.
    """

    purpose: messages.SecurePurpose
    accepted: Accepted
    fewest: int
    failures: Sequence[Failure]
    is_repeated: bool

    @property
    def needs_a_return(self) -> bool:
        """Whether the same sites, asked again, would be too few again."""
        return self.is_repeated or any(f.code in _FOR_WANT_OF_OTHERS for f in self.failures)


@dataclass
class BetweenAttempts:
    """Waits for the sites of one run.

    Attributes:
        setup: Of the run.
        exchange: Knows which nodes are connected.
        note: Tells a person something.
    """

    setup: RunSetup
    exchange: Exchange
    note: Callable[[str], None]
    _given_up: set[SiteId] = field(default_factory=set, init=False)

    def begin(self) -> None:
        """Note, as an attempt begins, who of those that were waited for in vain is there."""
        if self._given_up:
            self._given_up = self.exchange.away(self._given_up)

    def wait_to_repeat(self, missed: Missed) -> None:
        """Wait before the next attempt at a sum."""
        away = self.exchange.away([failed.site for failed in missed.failures])
        # Some may have come back while the others were at work.
        absent = away | {f.site for f in missed.failures if f.code == NODE_UNAVAILABLE}
        # Where the sum cannot be had any more, the last attempt is what says so.
        is_hopeless = are_for_good(missed.failures)

        def is_enough(there: Collection[SiteId]) -> bool:
            is_changed = not missed.needs_a_return or not absent.isdisjoint(there)
            return is_hopeless or (is_changed and self._is_enough(missed, there))

        self.wait_for(away, is_enough)

    def wait_for(
        self, sites: Collection[SiteId], is_enough: Callable[[Collection[SiteId]], bool]
    ) -> None:
        """Wait for nodes that are not connected.

        Args:
            sites: Whose.
            is_enough: Says whether the sites that are connected are as many as are needed.
        """
        tell = teller_of(self.setup.folder, self.note)
        patience = Patience(_NODE_RETURNS_SECONDS, is_enough, tell)
        deadline = self.setup.job.quorum.deadline_seconds
        in_vain = self.exchange.wait_for_nodes(sites, deadline, patience, self._given_up)
        self._given_up |= in_vain

    def _is_enough(self, missed: Missed, connected: Collection[SiteId]) -> bool:
        job, accepted, is_test = self.setup.job, missed.accepted, missed.purpose == "test"
        asked = {site for site, terms in accepted.items() if is_test or terms["trains"]}
        there = asked.intersection(connected)
        # A masked evaluation is content with as many as can mask.
        wants_quorum = missed.purpose == "train" or not job.secure_aggregation.enabled
        has_enough = not wants_quorum or has_quorum(job.quorum, accepted, there)
        return has_enough and len(there) >= missed.fewest
