"""The files of one round at a site: contribution and state, sealed until the round is over.

After unmasking only the answers are left, for a coordinator that asks again; when a higher round
begins, nothing of a lower one is.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedward_client.secagg.member_state import MemberState, Stage
from fedward_common.atomic_files import sync_folder, write_atomically
from fedward_common.crypto.mask_stream import Words
from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.errors import AggregationRefusedError
from fedward_common.round_vault import RoundVault, forget_vault, names_in, write_whole
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.binding import RoundBinding
from fedward_common.secagg.layout import ContributionLayout
from fedward_common.secagg.messages import decode_abandonments, encode_abandonments
from fedward_common.wire import messages

_STATE = "member.sealed"
_CONTRIBUTION = "contribution.sealed"
_ANSWERS = "answers.cbor"
_ABANDONMENTS = "abandonments-{}.cbor"
_SPARE = "spare"
_OVER = "over"
# A larger contribution is read again from its file: a process may keep those of many sites.
_MAX_BYTES_AT_HAND = 4 << 20

_Identities = tuple[tuple[int, int, int, int], tuple[int, int, int, int]]


@dataclass
class RoundStore:
    """The files of one round of one purpose.

    The state is remembered as long as its file is the same, and a small contribution until it is
    masked: steps that follow each other in one process do not read what they wrote.
    """

    vault: RoundVault
    _known: tuple[_Identities, MemberState] | None = field(default=None, init=False, repr=False)
    _at_hand: "_AtHand | None" = field(default=None, init=False, repr=False)

    @classmethod
    def of(
        cls, run_folder: Path, purpose: messages.SecurePurpose, number: int, *, durable: bool
    ) -> "RoundStore":
        """Name the store of a round; `durable` as in `RoundVault`."""
        root = run_folder / "secure"
        # A hospital keeps no byte of a round that is over, not even one that nobody can read;
        # and after the test nobody would come for it.
        spare = None if durable or purpose == "test" else root / _SPARE
        return cls(RoundVault(root / _name_of(purpose, number), durable, spare))

    def is_of(self, purpose: messages.SecurePurpose, number: int) -> bool:
        """Whether it is the store of this round."""
        return self._folder.name == _name_of(purpose, number)

    @property
    def _folder(self) -> Path:
        return self.vault.folder

    def forget_lower_rounds(self) -> None:
        """Destroy what lower rounds left; that this one was asked for is remembered before.

        Raises:
            AggregationRefusedError: A higher round has begun already.
        """
        name, root = self._folder.name, self._folder.parent
        purpose = name.rpartition("-")[0]
        others = sorted(n for n in names_in(root) if n.startswith(f"{purpose}-") and n != name)
        if others and others[-1] > name:
            raise AggregationRefusedError(
                f"round {name[-8:]} of a run that is at {others[-1][-8:]}",
                code=codes.ROUND_OLD,
            )
        # Whatever comes of this round, no lower one is done again: it may be in a sum already.
        if not names_in(self._folder):  # else it was done when that was written
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.vault.durable:
                # Also of a first round: a site that forgot it would answer one attempt twice.
                sync_folder(root)
                sync_folder(root.parent)
        for other in others:
            forget_vault(root / other, durable=self.vault.durable)

    @property
    def is_over(self) -> bool:
        """Whether the round is over here, whatever became of it."""
        return (self._folder / _OVER).exists()

    def close(self) -> None:
        """End the round for good, and destroy what is left of it but answers."""
        (self._folder / _OVER).touch(mode=0o600)
        if self.vault.durable:
            sync_folder(self._folder)
        self._at_hand = None
        self.vault.destroy()

    def state(self) -> MemberState | None:
        """Give the member's state, of a round that was unmasked too."""
        identities = self.vault.sealed_identity(_STATE)
        if self._known is not None and self._known[0] == identities:
            return self._known[1]
        self._known = None
        try:
            content: bytes | None = (self._folder / _ANSWERS).read_bytes()
            self.vault.destroy()  # a crash may have come between the two
        except FileNotFoundError:
            content = self.vault.latest(_STATE)
        if content is None:
            return None
        state = MemberState.from_secret(SecretBytes(content))
        self._remember(state)
        return state

    def keep_state(self, state: MemberState) -> None:
        """Write the state; once it holds answers alone, destroy secrets and contribution."""
        if self._known is not None and self._known[1] is state:
            return  # a request that was answered came again
        content = state.to_secret().reveal()
        if state.stage is not Stage.UNMASKED:
            self.vault.append(_STATE, content)
            self._remember(state)
            return
        write_whole(self._folder / _ANSWERS, (content,), durable=self.vault.durable)
        self._known = self._at_hand = None
        self.vault.destroy()

    def _remember(self, state: MemberState) -> None:
        """Remember a state that has secrets; what was answered at the end is asked for rarely."""
        identities = self.vault.sealed_identity(_STATE)
        self._known = None if identities is None else (identities, state)

    def contribution(
        self, layout: ContributionLayout, binding: RoundBinding
    ) -> tuple[Words, NDArray[np.uint64]] | None:
        """Give writable copies of words and lane, if they are of these weights and this layout."""
        at_hand, self._at_hand = self._at_hand, None  # whoever gets them masks them in place
        if at_hand is not None and at_hand.is_of(self, binding):
            return at_hand.words, at_hand.lane
        made_of = _content_hash(binding)
        found = bytearray(len(made_of))
        words: Words = np.empty(layout.num_words, np.uint32)
        if layout.word_bytes == 8:
            words = np.empty(layout.num_words, np.uint64)
        lane = np.empty(layout.lane.length, np.uint64)
        places = (memoryview(found), words.data, lane.data)
        if not self.vault.read_into(_CONTRIBUTION, *places) or found != made_of:
            return None
        return words, lane

    def keep_contribution(
        self,
        layout: ContributionLayout,
        binding: RoundBinding,
        words: Words,
        lane: NDArray[np.uint64],
    ) -> None:
        """Write the contribution, sealed, before anybody hears of it; it is the store's now."""
        made_of = _content_hash(binding)
        self.vault.write(_CONTRIBUTION, made_of, words.data, lane.data)
        identities = self.vault.sealed_identity(_CONTRIBUTION)
        if identities is not None and words.nbytes + lane.nbytes <= _MAX_BYTES_AT_HAND:
            self._at_hand = _AtHand(identities, made_of, words, lane)

    def abandonments(self, attempt: int) -> list[bytes]:
        """Give what was shown of others' abandonments of an attempt."""
        path = self._folder / _ABANDONMENTS.format(attempt)
        return decode_abandonments(path.read_bytes()) if path.is_file() else []

    def keep_abandonments(self, attempt: int, signed: Iterable[bytes]) -> None:
        """Keep verified abandonments of an attempt, in place of those that were shown before."""
        path = self._folder / _ABANDONMENTS.format(attempt)
        write_atomically(path, encode_abandonments(sorted(signed)), mode=0o600)


@dataclass(frozen=True)
class _AtHand:
    """A contribution that was written and not masked yet; it counts while its file is the same."""

    identities: _Identities
    content_hash: bytes
    words: Words = field(repr=False)
    lane: NDArray[np.uint64] = field(repr=False)

    def is_of(self, store: RoundStore, binding: RoundBinding) -> bool:
        return (
            self.content_hash == _content_hash(binding)
            and self.identities == store.vault.sealed_identity(_CONTRIBUTION)
            and self.words.flags.writeable
            and self.lane.flags.writeable
        )


def close_rounds(run_folder: Path, *, durable: bool) -> None:
    """End the rounds of training and validation of a run that is being tested."""
    for purpose in ("train", "validation"):
        for folder in (run_folder / "secure").glob(f"{purpose}-*"):
            RoundStore(RoundVault(folder, durable=durable)).close()
    (run_folder / "secure" / _SPARE).unlink(missing_ok=True)


def _name_of(purpose: messages.SecurePurpose, number: int) -> str:
    return f"{purpose}-{number:08d}"


def _content_hash(binding: RoundBinding) -> bytes:
    """Name what a contribution was made of: these weights in this layout."""
    named = f"{binding.weights_sha256}:{binding.codec_sha256}"
    return hashlib.sha256(named.encode()).digest()
