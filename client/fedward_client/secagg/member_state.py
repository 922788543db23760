"""What a site knows of one attempt, and what it demands of every attempt.

A state is a value: a step takes one and gives the next, and a step that is refused changes nothing.
Whoever runs the steps stores the new state before the answer leaves, so that an answer that was
given once is never given differently.
"""

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from fedward_common.consortium.roster import Roster
from fedward_common.crypto.key_agreement import HybridPrivateKey
from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.crypto.signing import SigningKey
from fedward_common.identities import SiteId
from fedward_common.secagg.binding import RoundBinding
from fedward_common.secagg.messages import decode_value, encode_value
from fedward_common.secagg.signed_items import Directory, Peer

_MAX_STATE_BYTES = 64 << 20


class Stage(Enum):
    """How far a site has come; in this order, and ABANDONED from any but UNMASKED.

    CONFIRMED is left out where what was confirmed in advance is unmasked.
    """

    READY = "ready"
    SHARED = "shared"
    MASKED = "masked"
    CONFIRMED = "confirmed"
    UNMASKED = "unmasked"
    ABANDONED = "abandoned"


@dataclass(frozen=True)
class MemberRules:
    """What one site demands; keeps `RoundLimits`.

    Attributes:
        site: Its own name.
        signing_key: Its identity key, the one the roster names.
        roster: Verified.
        participants: The manifest's sites for this purpose.
        minimum_sites: Fewest sites in a directory, by manifest and own policy.
        minimum_organisations: Fewest organisations, likewise.
        max_sites: The codec's.
    """

    site: SiteId
    signing_key: SigningKey
    roster: Roster
    participants: frozenset[SiteId]
    minimum_sites: int
    minimum_organisations: int
    max_sites: int


@dataclass(frozen=True)
class Answered:
    """The one request of a step that is answered, and its answer."""

    request_sha256: bytes
    answer: bytes = field(repr=False)


@dataclass(frozen=True)
class HeldShares:
    """One site's two shares that this site keeps for it."""

    self_mask: SecretBytes
    recovery: SecretBytes


@dataclass(frozen=True)
class RoundSecrets:
    """All that must be destroyed when an attempt ends; each is there as long as it is needed.

    Attributes:
        seal_private: Until shares are opened.
        mask_private: Until the pair keys are derived.
        self_mask_seed: From sharing on.
        pair_keys: Of pair masks: those it made itself from sharing on, all from masking on.
        held: Shares by whose they are; its own from sharing on, the others' from masking on.
        masked_sha256: Of the masked vector. Another one under the same masks would show the
            difference of the two contributions.
        own_keys: `seal_private` and `mask_private` as keys, where they were made here; not stored.
    """

    seal_private: SecretBytes | None = None
    mask_private: SecretBytes | None = None
    self_mask_seed: SecretBytes | None = None
    pair_keys: Mapping[SiteId, SecretBytes] = field(default_factory=dict)
    held: Mapping[SiteId, HeldShares] = field(default_factory=dict)
    masked_sha256: SecretBytes | None = None
    own_keys: tuple[HybridPrivateKey, HybridPrivateKey] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class MemberState:
    """One attempt as one site sees it.

    Attributes:
        stage: How far it has come.
        site: Whose state it is.
        binding: Of the attempt.
        round_keys: Its signed keys, as they were sent.
        directory: From sharing on.
        sharers: From masking on; likewise `sharers_sha256`.
        survivors: From confirming on, or from unmasking what was confirmed in advance.
        has_masked: Whether a masked vector may be out, also after the attempt was abandoned.
        answered: By the name of the step. That of confirming in advance had no request: the lists
            that were confirmed stand in its place.
        abandonments: Signed, by the binding hash of the attempt that was abandoned: earlier ones
            of this round, and this one once it is.
        notes: For the site's audit log: what others did wrong and was borne.
        secrets: None once they are destroyed.
    """

    stage: Stage
    site: SiteId
    binding: RoundBinding
    round_keys: bytes = field(repr=False)
    secrets: RoundSecrets | None
    directory: Directory | None = field(default=None, repr=False)
    sharers: tuple[SiteId, ...] = ()
    sharers_sha256: bytes = b""
    survivors: tuple[SiteId, ...] = ()
    has_masked: bool = False
    answered: Mapping[str, Answered] = field(default_factory=dict)
    abandonments: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()

    def to_secret(self) -> SecretBytes:
        """Give everything, for a file that is encrypted and never backed up."""
        return SecretBytes(encode_value(_to_plain(self)))

    @classmethod
    def from_secret(cls, stored: SecretBytes) -> "MemberState":
        """Take what `to_secret` gave.

        Raises:
            MalformedMessageError: It was changed, or is of another version.
        """
        plain = decode_value(_PlainState, stored.reveal(), max_bytes=_MAX_STATE_BYTES)
        return _from_plain(plain)


@dataclass(frozen=True)
class _PlainShares:
    self_mask: bytes
    recovery: bytes


@dataclass(frozen=True)
class _PlainSecrets:
    seal_private: bytes | None
    mask_private: bytes | None
    self_mask_seed: bytes | None
    pair_keys: dict[str, bytes]
    held: dict[str, _PlainShares]
    # Of the masked vector. In a state that an earlier build stored it is of the contribution, which
    # is then not masked again; all else of that state still counts.
    contribution_sha256: bytes | None


@dataclass(frozen=True)
class _PlainPeer:
    site: str
    seal_key: bytes
    mask_key: bytes


@dataclass(frozen=True)
class _PlainDirectory:
    sha256: bytes
    peers: tuple[_PlainPeer, ...]

    remembers_canonical_bytes = True  # the same from sharing on, and the most of it


@dataclass(frozen=True)
class _PlainAnswered:
    request_sha256: bytes
    answer: bytes


@dataclass(frozen=True)
class _PlainState:
    stage: str
    site: str
    binding: RoundBinding
    round_keys: bytes
    secrets: _PlainSecrets | None
    directory: _PlainDirectory | None
    sharers: tuple[str, ...]
    sharers_sha256: bytes
    survivors: tuple[str, ...]
    has_masked: bool
    answered: dict[str, _PlainAnswered]
    abandonments: dict[str, bytes]
    notes: tuple[str, ...]


def _to_plain(state: MemberState) -> _PlainState:
    return _PlainState(
        stage=state.stage.value,
        site=state.site,
        binding=state.binding,
        round_keys=state.round_keys,
        secrets=None if state.secrets is None else _plain_secrets(state.secrets),
        directory=None if state.directory is None else _plain_directory(state.directory),
        sharers=state.sharers,
        sharers_sha256=state.sharers_sha256,
        survivors=state.survivors,
        has_masked=state.has_masked,
        answered={
            step: _PlainAnswered(a.request_sha256, a.answer) for step, a in state.answered.items()
        },
        abandonments=dict(state.abandonments),
        notes=state.notes,
    )


@functools.lru_cache(maxsize=32)
def _plain_directory(directory: Directory) -> _PlainDirectory:
    """Give the public keys of an attempt, the same object for each state that has them."""
    peers = tuple(_PlainPeer(p.site, p.seal_key, p.mask_key) for p in directory.peers)
    return _PlainDirectory(directory.sha256, peers)


def _plain_secrets(secrets: RoundSecrets) -> _PlainSecrets:
    return _PlainSecrets(
        seal_private=_revealed(secrets.seal_private),
        mask_private=_revealed(secrets.mask_private),
        self_mask_seed=_revealed(secrets.self_mask_seed),
        pair_keys={site: key.reveal() for site, key in secrets.pair_keys.items()},
        held={
            site: _PlainShares(shares.self_mask.reveal(), shares.recovery.reveal())
            for site, shares in secrets.held.items()
        },
        contribution_sha256=_revealed(secrets.masked_sha256),
    )


def _from_plain(plain: _PlainState) -> MemberState:
    directory = plain.directory
    return MemberState(
        stage=Stage(plain.stage),
        site=SiteId(plain.site),
        binding=plain.binding,
        round_keys=plain.round_keys,
        secrets=None if plain.secrets is None else _secrets_of(plain.secrets),
        directory=None
        if directory is None
        else Directory(
            plain.binding,
            directory.sha256,
            tuple(Peer(SiteId(p.site), p.seal_key, p.mask_key) for p in directory.peers),
        ),
        sharers=tuple(map(SiteId, plain.sharers)),
        sharers_sha256=plain.sharers_sha256,
        survivors=tuple(map(SiteId, plain.survivors)),
        has_masked=plain.has_masked,
        answered={step: Answered(a.request_sha256, a.answer) for step, a in plain.answered.items()},
        abandonments=plain.abandonments,
        notes=plain.notes,
    )


def _secrets_of(plain: _PlainSecrets) -> RoundSecrets:
    return RoundSecrets(
        seal_private=_hidden(plain.seal_private),
        mask_private=_hidden(plain.mask_private),
        self_mask_seed=_hidden(plain.self_mask_seed),
        pair_keys={SiteId(site): SecretBytes(key) for site, key in plain.pair_keys.items()},
        held={
            SiteId(site): HeldShares(SecretBytes(s.self_mask), SecretBytes(s.recovery))
            for site, s in plain.held.items()
        },
        masked_sha256=_hidden(plain.contribution_sha256),
    )


def _revealed(secret: SecretBytes | None) -> bytes | None:
    return None if secret is None else secret.reveal()


def _hidden(plain: bytes | None) -> SecretBytes | None:
    return None if plain is None else SecretBytes(plain)


def without_secrets(state: MemberState, **changes: Any) -> MemberState:
    """Give the state with its secrets gone; what was answered stays."""
    return dataclasses.replace(state, secrets=None, **changes)
