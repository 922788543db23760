"""Before sites are asked again: those whose nodes are gone are given time to come back.

For a minute everybody whose node is gone is waited for; then, until `quorum.deadline_seconds`, as
many as there can be no sum without.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from fedward_common.identities import SiteId
from fedward_common.secagg import refusal_codes as codes
from fedward_common.wire import messages
from fedward_server.coordinator.exchange import LATE, Exchange
from fedward_server.coordinator.quorum import Accepted, has_quorum
from fedward_server.coordinator.run_setup import RunSetup
from fedward_server.coordinator.site_link import NODE_UNAVAILABLE, Failure
from fedward_server.coordinator.waiting import Patience, waits_of

# A node that was killed connects again within half a minute.
_NODE_RETURNS_SECONDS = 60.0
# Of the line, or for want of others: the site itself may well take part.
_NOT_ITS_OWN = frozenset({NODE_UNAVAILABLE, LATE, codes.MASKED_BEFORE})


@dataclass(frozen=True)
class Missed:
    """An attempt at a sum that too few sites were in.

    Attributes:
        purpose: What the sum is for.
        accepted: Terms of every site that accepted the run.
        fewest: Sites that another attempt cannot do without, beside the quorum.
        failures: Of this attempt.
        failures_before: Of the one before it.
    """

    purpose: messages.SecurePurpose
    accepted: Accepted
    fewest: int
    failures: Sequence[Failure]
    failures_before: Sequence[Failure] = ()

    @property
    def unwilling(self) -> set[str]:
        """Sites that are there, and failed twice in a row for a reason of their own."""
        return _unwilling(self.failures) & _unwilling(self.failures_before)


@dataclass(frozen=True)
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

    def wait_to_repeat(self, missed: Missed) -> bool:
        """Wait before the next attempt at a sum; say whether there is to be one."""
        failed = {failure.site for failure in missed.failures}
        return self.wait_for(failed, lambda there: self._is_enough(missed, there))

    def wait_for(
        self, sites: Collection[SiteId], is_enough: Callable[[Collection[SiteId]], bool]
    ) -> bool:
        """Wait for nodes that are not connected.

        Args:
            sites: Whose.
            is_enough: Says whether the sites that are connected are as many as are needed.

        Returns:
            Whether to ask again: not where the deadline is over, and they are too few.
        """
        waits = waits_of(self.setup.folder, self.note)
        patience = Patience(_NODE_RETURNS_SECONDS, is_enough, waits)
        deadline = self.setup.job.quorum.deadline_seconds
        return self.exchange.wait_for_nodes(sites, deadline, patience)

    def _is_enough(self, missed: Missed, connected: Collection[SiteId]) -> bool:
        accepted, evaluates = missed.accepted, missed.purpose == "test"
        asked = {site for site, terms in accepted.items() if evaluates or terms["trains"]}
        there = asked.intersection(connected) - missed.unwilling
        return len(there) >= missed.fewest and has_quorum(self.setup.job.quorum, accepted, there)


def _unwilling(failures: Sequence[Failure]) -> set[str]:
    return {str(failure.site) for failure in failures if failure.code not in _NOT_ITS_OWN}
