"""Before sites are asked again: those whose nodes are gone are given time to come back.

For a minute everybody whose node is gone is waited for; then, until `quorum.deadline_seconds`, as
many as there can be no sum without.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from fedward_common.identities import SiteId
from fedward_common.secagg.layout import fewest_ready_sites
from fedward_common.wire import messages
from fedward_server.coordinator.acceptance import EarlyStart, waits_of
from fedward_server.coordinator.exchange import Exchange
from fedward_server.coordinator.quorum import Accepted, has_quorum
from fedward_server.coordinator.run_setup import RunSetup
from fedward_server.coordinator.site_link import NODE_UNAVAILABLE, Failure

# A node that was killed connects again within half a minute.
_NODE_RETURNS_SECONDS = 60.0


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

    def wait_to_repeat(
        self,
        purpose: messages.SecurePurpose,
        accepted: Accepted,
        failures: Iterable[Failure],
    ) -> None:
        """Wait before the next attempt at a sum.

        Args:
            purpose: What the sum is for.
            accepted: Terms of every site that accepted the run.
            failures: Of the attempt before; those for other reasons are no reason to wait.
        """
        away = {failed.site for failed in failures if failed.code == NODE_UNAVAILABLE}
        self.wait_for(away, lambda there: self._is_enough(purpose, accepted, there))

    def wait_for(
        self, sites: Collection[SiteId], is_enough: Callable[[Collection[SiteId]], bool]
    ) -> None:
        """Wait for nodes that are not connected.

        Args:
            sites: Whose.
            is_enough: Says whether the sites that are connected are as many as are needed.
        """
        early = EarlyStart(_NODE_RETURNS_SECONDS, is_enough, waits_of(self.setup, self.note))
        self.exchange.wait_for_nodes(sites, self.setup.job.quorum.deadline_seconds, early)

    def _is_enough(
        self, purpose: messages.SecurePurpose, accepted: Accepted, connected: Collection[SiteId]
    ) -> bool:
        job = self.setup.job
        asked = {site for site, terms in accepted.items() if purpose == "test" or terms["trains"]}
        there = asked.intersection(connected)
        if purpose == "train" and not has_quorum(job.quorum, accepted, there):
            return False
        num_trainers = len(self.setup.manifest.training_sites)
        masked = job.secure_aggregation.enabled
        return not masked or len(there) >= fewest_ready_sites(job, purpose, num_trainers)
