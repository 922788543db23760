"""Masked vectors added up, and the file that keeps them with the state of their attempt.

The totals are written first, once; the state names their attempt and is written after each step
from then on. A coordinator that was killed finds both or does the attempt again.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedward_common.crypto.mask_stream import Words
from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.errors import CorruptFileError, MalformedMessageError
from fedward_common.round_vault import RoundVault
from fedward_common.secagg.binding import RoundBinding
from fedward_common.secagg.layout import ContributionLayout
from fedward_common.secagg.packing import add_packed
from fedward_common.wire import messages
from fedward_server.secagg_coordinator import AttemptState, CoordinatorRules

_TOTALS = "totals.sealed"
_STATE = "attempt.sealed"


def attempt_folder(run_folder: Path, purpose: messages.SecurePurpose) -> Path:
    """Name where the files of an attempt lie from the moment its survivors are fixed."""
    return run_folder / f"secure-{purpose}"


@dataclass
class MaskedTotals:
    """Sums modulo the size of a word, of which nothing can be read."""

    words: Words
    lane: NDArray[np.uint64]

    @classmethod
    def empty(cls, layout: ContributionLayout) -> "MaskedTotals":
        """Begin with no site."""
        lane = np.zeros(layout.lane.length, dtype=np.uint64)
        if layout.word_bytes == 8:
            return cls(np.zeros(layout.num_words, dtype=np.uint64), lane)
        return cls(np.zeros(layout.num_words, dtype=np.uint32), lane)

    def add(self, arrays: Mapping[str, NDArray[np.generic]], layout: ContributionLayout) -> None:
        """Add what one site sent.

        Raises:
            MalformedMessageError: It is of another form; nothing was added.
        """
        masked, lane = arrays[messages.MASKED], arrays[messages.LANE]
        whole = lane.dtype == np.int64 and lane.shape == self.lane.shape
        if not whole or masked.dtype != np.uint8:
            raise MalformedMessageError("a masked vector is bytes and a lane of 64-bit numbers")
        add_packed(self.words, masked.view(np.uint8), layout.word_bytes)
        self.lane += lane.view(np.uint64)


@dataclass(frozen=True)
class AttemptFiles:
    """Totals and state of one attempt, sealed in a vault.

    Attributes:
        vault: Of this purpose.
        keeps: False in a simulation whose sites keep the round in memory alone: after a kill they
            do it again, and nothing is written that nobody would go on with.
    """

    vault: RoundVault
    keeps: bool = True

    def keep_totals(self, binding: RoundBinding, totals: MaskedTotals) -> None:
        """Write the totals, before any state that counts on them."""
        if not self.keeps:
            return
        attempt = binding.sha256.encode()
        self.vault.write(_TOTALS, attempt, totals.lane.data, totals.words.data)

    def keep_state(self, state: AttemptState) -> None:
        """Write the state, which counts from now on."""
        if not self.keeps:
            return
        self.vault.append(_STATE, state.to_secret().reveal())

    def load(
        self, binding: RoundBinding, rules: CoordinatorRules, layout: ContributionLayout
    ) -> tuple[AttemptState, MaskedTotals] | None:
        """Give what was kept of this very attempt; None where there is nothing, or nothing whole.

        Sites answer what they were asked before with the same bytes, so an attempt whose files a
        power cut damaged is asked for again.
        """
        if not self.keeps:
            return None
        with contextlib.suppress(CorruptFileError):
            return self._load(binding, rules, layout)
        return None

    def _load(
        self, binding: RoundBinding, rules: CoordinatorRules, layout: ContributionLayout
    ) -> tuple[AttemptState, MaskedTotals] | None:
        stored = self.vault.latest(_STATE)
        if stored is None:
            return None
        try:
            state = AttemptState.from_secret(SecretBytes(stored), rules)
        except MalformedMessageError as error:
            raise CorruptFileError(
                "the state of an attempt is damaged", hint="the attempt is asked for again"
            ) from error
        if state.binding != binding:
            return None
        attempt, totals = binding.sha256.encode(), MaskedTotals.empty(layout)
        found = bytearray(len(attempt))
        places = (memoryview(found), totals.lane.data, totals.words.data)
        if not self.vault.read_into(_TOTALS, *places) or found != attempt:
            return None
        return state, totals

    def forget(self) -> None:
        """Destroy both."""
        if self.vault.folder.is_dir():
            self.vault.forget()
