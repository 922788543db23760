"""What `secure_rounds` asks of whatever keeps a round: files, or the memory of a simulation."""

from collections.abc import Iterable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedward_client.secagg.member_state import MemberState
from fedward_common.crypto.mask_stream import Words
from fedward_common.secagg.binding import RoundBinding
from fedward_common.secagg.layout import ContributionLayout


class KeptRound(Protocol):
    """One round of one purpose: the site's state in it, and what it adds to the sum."""

    def forget_lower_rounds(self) -> None:
        """Destroy what lower rounds left; that this one was asked for is remembered before.

        Raises:
            AggregationRefusedError: A higher round has begun already.
        """

    @property
    def is_over(self) -> bool:
        """Whether the round is over here, whatever became of it."""

    def state(self) -> MemberState | None:
        """Give the member's state, of a round that was unmasked too."""

    def keep_state(self, state: MemberState) -> None:
        """Keep the state; once it holds answers alone, destroy secrets and contribution."""

    def contribution(
        self, layout: ContributionLayout, binding: RoundBinding
    ) -> tuple[Words, NDArray[np.uint64]] | None:
        """Give writable copies of words and lane, if they are of these weights and this layout."""

    def keep_contribution(
        self,
        layout: ContributionLayout,
        binding: RoundBinding,
        words: Words,
        lane: NDArray[np.uint64],
    ) -> None:
        """Keep the contribution before anybody hears of it; it is the keeper's from now on."""

    def abandonments(self, attempt: int) -> list[bytes]:
        """Give what was shown of others' abandonments of an attempt."""

    def keep_abandonments(self, attempt: int, signed: Iterable[bytes]) -> None:
        """Keep verified abandonments of an attempt, in place of those that were shown before."""
