"""Which messages were lost at a node: given to one that asks for more and has brought no answer.

A node asks for its next message once the answer to the one before is away. So where it asks again
without, the message is lost: on the way to it, in it, or on the way back. Nothing is measured in
time, so a node that trains for a day has lost nothing.
"""

import threading
from collections import deque
from collections.abc import Collection

# More than are waited for at a time, so nobody asks about one that was forgotten.
_KEPT = 4096


class GivenMessages:
    """The messages that nodes have since the coordinator began; several threads may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[int, set[str]] = {}
        self._lost: deque[str] = deque(maxlen=_KEPT)

    def node_asks(self, node: int) -> None:
        """Note that a node asks for a message, before it is given one."""
        with self._lock:
            self._lost.extend(self._held.pop(node, ()))

    def node_is_given(self, node: int, message_ids: Collection[str]) -> None:
        """Note what a node is given."""
        with self._lock:
            self._held.setdefault(node, set()).update(message_ids)

    def node_answers(self, node: int, message_id: str) -> None:
        """Note that the answer to a message is here."""
        with self._lock:
            self._held.get(node, set()).discard(message_id)

    def is_lost(self, message_id: str) -> bool:
        """Say whether no answer comes to a message from whom it was given to."""
        with self._lock:
            return message_id in self._lost
