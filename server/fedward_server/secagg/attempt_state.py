"""What the coordinator knows of one attempt.

A state is a value: a step takes one and gives the next, and a step that is refused changes nothing.
The coordinator stores it, so that after a crash between the masked sum and the commit it goes on
with the same sharers and survivors: a site never signs others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from fedward_common.consortium.roster import Roster
from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.errors import AggregationRefusedError
from fedward_common.identities import SiteId
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.binding import RoundBinding
from fedward_common.secagg.messages import (
    Confirmation,
    ShareAnnouncement,
    ShareAnswer,
    Signed,
    decode,
    decode_value,
    encode_value,
)
from fedward_common.secagg.signed_items import Directory, Peer
from fedward_common.secagg.transcript import hash_of_transcript

_MAX_STATE_BYTES = 1 << 30


@dataclass(frozen=True)
class CoordinatorRules:
    """What every directory must keep to, by the manifest; keeps `RoundLimits`.

    Attributes:
        roster: Verified.
        participants: The manifest's sites for this purpose.
        minimum_sites: Fewest sites in a directory.
        minimum_organisations: Fewest organisations in a directory and among survivors.
        max_sites: The codec's.
    """

    roster: Roster
    participants: frozenset[SiteId]
    minimum_sites: int
    minimum_organisations: int
    max_sites: int


@dataclass(frozen=True)
class AttemptState:
    """One attempt, from the directory on.

    Attributes:
        rules: Not stored; given again to `from_secret`.
        directory: Verified.
        round_keys: Signed, in the directory's order, as they are relayed.
        shared: Each site's answer to the directory, as it came; verified.
        sharers: Fixed by `fix_sharers`; empty before. Likewise `sharers_sha256`.
        survivors: Fixed by `fix_survivors`; empty before.
        confirmed: Signatures over the transcript, in the order they came.
        unmasked: Signed answers with shares.
    """

    rules: CoordinatorRules = field(repr=False)
    directory: Directory = field(repr=False)
    round_keys: tuple[Signed, ...] = field(repr=False)
    shared: Mapping[SiteId, bytes] = field(default_factory=dict, repr=False)
    sharers: tuple[SiteId, ...] = ()
    sharers_sha256: bytes = b""
    survivors: tuple[SiteId, ...] = ()
    confirmed: tuple[Confirmation, ...] = field(default=(), repr=False)
    unmasked: Mapping[SiteId, Signed] = field(default_factory=dict, repr=False)

    @property
    def binding(self) -> RoundBinding:
        """What the attempt is about."""
        return self.directory.binding

    @property
    def threshold(self) -> int:
        """Sites that a sum needs, shares that open a secret."""
        return self.directory.threshold

    @property
    def dropouts(self) -> tuple[SiteId, ...]:
        """Sharers whose masked vectors are not in the sum."""
        return tuple(site for site in self.sharers if site not in self.survivors)

    @property
    def transcript_sha256(self) -> bytes:
        """What survivors sign."""
        return hash_of_transcript(
            self.directory.sha256, self.sharers_sha256, self.survivors, self.dropouts
        )

    @cached_property
    def share_answers(self) -> Mapping[SiteId, ShareAnswer]:
        """What each site shared, decoded."""
        return {site: decode(ShareAnswer, answer) for site, answer in self.shared.items()}

    def announcement_of(self, site: SiteId) -> ShareAnnouncement:
        """Give what a site announced."""
        return decode(ShareAnnouncement, self.share_answers[site].announcement.body)

    def to_secret(self) -> SecretBytes:
        """Give everything but the rules, for a file of the run that only its owner may read."""
        directory = self.directory
        plain = _PlainState(
            binding=directory.binding,
            directory_sha256=directory.sha256,
            peers=tuple(_PlainPeer(p.site, p.seal_key, p.mask_key) for p in directory.peers),
            round_keys=self.round_keys,
            shared={str(site): answer for site, answer in self.shared.items()},
            sharers=self.sharers,
            sharers_sha256=self.sharers_sha256,
            survivors=self.survivors,
            confirmed=self.confirmed,
            unmasked={str(site): answer for site, answer in self.unmasked.items()},
        )
        return SecretBytes(encode_value(plain))

    @classmethod
    def from_secret(cls, stored: SecretBytes, rules: CoordinatorRules) -> "AttemptState":
        """Take what `to_secret` gave.

        Raises:
            MalformedMessageError: It was changed, or is of another version.
        """
        plain = decode_value(_PlainState, stored.reveal(), max_bytes=_MAX_STATE_BYTES)
        peers = tuple(Peer(SiteId(p.site), p.seal_key, p.mask_key) for p in plain.peers)
        return cls(
            rules=rules,
            directory=Directory(plain.binding, plain.directory_sha256, peers),
            round_keys=plain.round_keys,
            shared={SiteId(site): answer for site, answer in plain.shared.items()},
            sharers=tuple(map(SiteId, plain.sharers)),
            sharers_sha256=plain.sharers_sha256,
            survivors=tuple(map(SiteId, plain.survivors)),
            confirmed=plain.confirmed,
            unmasked={SiteId(site): answer for site, answer in plain.unmasked.items()},
        )


@dataclass(frozen=True)
class _PlainPeer:
    site: str
    seal_key: bytes
    mask_key: bytes


@dataclass(frozen=True)
class _PlainState:
    binding: RoundBinding
    directory_sha256: bytes
    peers: tuple[_PlainPeer, ...]
    round_keys: tuple[Signed, ...]
    shared: Mapping[str, bytes]
    sharers: tuple[str, ...]
    sharers_sha256: bytes
    survivors: tuple[str, ...]
    confirmed: tuple[Confirmation, ...]
    unmasked: Mapping[str, Signed]


def require_step(is_open: bool, what: str) -> None:
    """Check that a step comes in its turn."""
    if not is_open:
        raise AggregationRefusedError(
            what, hint="the steps of an attempt follow each other", code=codes.OUT_OF_ORDER
        )
