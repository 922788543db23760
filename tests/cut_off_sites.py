"""A Grid whose lines are cut for a while by the clock, as a network between hospitals is."""

from collections.abc import Iterable, Mapping

from flwr.app import Message
from tests.masked_federation import WatchedGrid
from tests.tiny_federation import FakeClock, TinyFederation

from fedward_server.simulation.in_process_grid import error_reply

NOTICED_SECONDS = 60.0  # so long a link believes that a node is there
FOR_GOOD = 1e9


class CutGrid(WatchedGrid):
    """Cuts sites off when one of them is first asked one thing after round 1.

    Args:
        federation: Whose sites.
        clock: Measures how long.
        moment: The type of that message, and of a step its purpose.
        cut: For how many seconds each site is.
        does_it: Whether the sites do what they were asked, and cannot say so.
        faults: As `tests.faulty_site` reads them.

    Attributes:
        cut_at: When they were cut off; infinite before.
        cut_again: The same for a second cut, in a later round; nobody unless set.
    """

    poll_seconds = 0.5

    def __init__(
        self,
        federation: TinyFederation,
        clock: FakeClock,
        moment: tuple[str, str],
        cut: Mapping[str, float],
        *,
        does_it: bool = False,
        faults: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(federation, faults)
        self._clock = clock
        self._moment = moment
        self._does_it = does_it
        self._cut = cut
        self._cut_in_round = 1
        self.cut_at = float("inf")
        self.cut_again: Mapping[str, float] = {}

    def get_node_ids(self) -> list[int]:
        return [node for node in super().get_node_ids() if not self._is_missed(node)]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """As Flower does: a message to a node that it does not know has no id."""
        return [
            "" if self._is_missed(message.metadata.dst_node_id) else pushed
            for message in messages
            for pushed in super(CutGrid, self).push_messages([message])
        ]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        (message_id,) = message_ids
        message = self._waiting.get(message_id)
        if message is None:
            return []
        self._cut_now(message)
        node = message.metadata.dst_node_id
        if not self._is_cut(node):
            return super().pull_messages([message_id])
        if not self._is_missed(node):
            return []
        if self._does_it:
            return self._without_answer(message_id, message)
        del self._waiting[message_id], self._unanswered[message_id]
        return [error_reply(message, "NODE_UNAVAILABLE")]

    def _without_answer(self, message_id: str, message: Message) -> list[Message]:
        super().pull_messages([message_id])
        return [error_reply(message, "NODE_UNAVAILABLE")]

    def _cut_now(self, message: Message) -> None:
        passing = self.passing(message)
        is_then = (passing.kind, passing.purpose) == self._moment
        if not is_then or passing.round <= self._cut_in_round:
            return
        if self.cut_at == float("inf"):
            self._cut_in_round, self.cut_at = passing.round, self._clock.now
        elif self.cut_again:
            self._cut_in_round, self.cut_at = passing.round, self._clock.now
            self._cut, self.cut_again = self.cut_again, {}

    def _is_cut(self, node: int) -> bool:
        site = self._sites[node - min(self._configs)]
        return 0 <= self._clock.now - self.cut_at < self._cut.get(site, 0)

    def _is_missed(self, node: int) -> bool:
        return self._is_cut(node) and self._clock.now >= self.cut_at + NOTICED_SECONDS
