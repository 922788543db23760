"""The rounds of a simulated site that are kept in its process alone, and end with it.

Within the process the rules are those of `round_store`: nothing of a lower round is left when a
higher one begins, a lower one is refused from then on, and what was unmasked has no contribution
any more.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedward_client.secagg.member_state import MemberState, Stage
from fedward_common.crypto.mask_stream import Words
from fedward_common.errors import AggregationRefusedError
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.binding import RoundBinding
from fedward_common.secagg.layout import ContributionLayout


@dataclass
class _Contribution:
    """Words and lane, not masked, and the weights and layout that they were made of."""

    made_of: tuple[str, str]
    words: Words = field(repr=False)
    lane: NDArray[np.uint64] = field(repr=False)


@dataclass
class _Remembered:
    """What is known of one round."""

    state: MemberState | None = None
    contribution: _Contribution | None = None
    abandonments: dict[int, list[bytes]] = field(default_factory=dict)
    is_over: bool = False


@dataclass
class RoundMemory:
    """One round; it knows which others of its run and purpose have begun.

    Args:
        number: Of the round.
        grid: With whose end it ends, though the process may go on.
        rounds: What is known of each that has begun; shared by all of one run and purpose.
    """

    number: int
    grid: str
    rounds: dict[int, _Remembered] = field(default_factory=dict, repr=False)

    def of_round(self, number: int) -> "RoundMemory":
        """Give a round of the same run and purpose."""
        return RoundMemory(number, self.grid, self.rounds)

    def forget_lower_rounds(self) -> None:
        """Drop what lower rounds left, and remember that this one was asked for.

        Raises:
            AggregationRefusedError: A higher round has begun already.
        """
        highest = max(self.rounds, default=self.number)
        if highest > self.number:
            raise AggregationRefusedError(
                f"round {self.number} of a run that is at {highest}", code=codes.ROUND_OLD
            )
        begun = self._begun()
        self.rounds.clear()
        self.rounds[self.number] = begun

    def _begun(self) -> _Remembered:
        return self.rounds.setdefault(self.number, _Remembered())

    @property
    def is_over(self) -> bool:
        """Whether the round is over here, whatever became of it."""
        return self.number in self.rounds and self.rounds[self.number].is_over

    def close(self) -> None:
        """End every round that has begun for good."""
        for number in self.rounds:
            self.rounds[number] = _Remembered(is_over=True)

    def state(self) -> MemberState | None:
        """Give the member's state, of a round that was unmasked too."""
        known = self.rounds.get(self.number)
        return None if known is None else known.state

    def keep_state(self, state: MemberState) -> None:
        """Keep the state; once it holds answers alone, drop the contribution."""
        begun = self._begun()
        begun.state = state
        if state.stage is Stage.UNMASKED:
            begun.contribution = None

    def contribution(
        self, layout: ContributionLayout, binding: RoundBinding
    ) -> tuple[Words, NDArray[np.uint64]] | None:
        """Give writable copies of words and lane, if they are of these weights and this layout."""
        known = self.rounds.get(self.number)
        kept = None if known is None else known.contribution
        if kept is None or kept.made_of != _made_of(binding):
            return None
        return kept.words.copy(), kept.lane.copy()

    def keep_contribution(
        self,
        layout: ContributionLayout,
        binding: RoundBinding,
        words: Words,
        lane: NDArray[np.uint64],
    ) -> None:
        """Keep the contribution before anybody hears of it; it is this memory's from now on."""
        self._begun().contribution = _Contribution(_made_of(binding), words, lane)

    def abandonments(self, attempt: int) -> list[bytes]:
        """Give what was shown of others' abandonments of an attempt."""
        known = self.rounds.get(self.number)
        return [] if known is None else list(known.abandonments.get(attempt, ()))

    def keep_abandonments(self, attempt: int, signed: Iterable[bytes]) -> None:
        """Keep verified abandonments of an attempt, in place of those that were shown before."""
        self._begun().abandonments[attempt] = sorted(signed)


def _made_of(binding: RoundBinding) -> tuple[str, str]:
    """Name what a contribution was made of: these weights in this layout."""
    return binding.weights_sha256, binding.codec_sha256
