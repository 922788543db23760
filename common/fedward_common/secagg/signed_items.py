"""What one site signed and another is shown: checked against the roster before it is believed.

Both machines use these checks: the coordinator to leave a faulty site out early, and every site
again, because the coordinator is not believed. A ciphertext of ML-KEM that was made wrongly cannot
be found here or anywhere: it opens to another secret (FIPS 203, implicit rejection), and then the
sum is spoilt, not revealed.
"""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from fedward_common.consortium.roster import Roster, RosterEntry
from fedward_common.crypto.key_agreement import (
    PRIVATE_BYTES,
    HybridPrivateKey,
    HybridPublicKey,
    diffie_hellman,
)
from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.crypto.signing import SigningKey, VerifyingKey
from fedward_common.errors import AggregationRefusedError, UnverifiedMessageError
from fedward_common.identities import SiteId
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.binding import RoundBinding
from fedward_common.secagg.key_schedule import KeyScope
from fedward_common.secagg.messages import (
    ABANDONMENT_CONTEXT,
    ANNOUNCEMENT_CONTEXT,
    CONFIRMATION_CONTEXT,
    ROUND_KEYS_CONTEXT,
    UNMASK_CONTEXT,
    Abandonment,
    Confirmation,
    RoundKeys,
    ShareAnnouncement,
    SharePacket,
    Signed,
    UnmaskAnswer,
    decode,
    encode,
)
from fedward_common.secagg.rules import RoundLimits, verify_binding, verify_directory_sites
from fedward_common.secagg.thresholds import threshold_of
from fedward_common.secagg.transcript import hash_of_directory

_CONTEXTS: dict[type, str] = {
    RoundKeys: ROUND_KEYS_CONTEXT,
    ShareAnnouncement: ANNOUNCEMENT_CONTEXT,
    UnmaskAnswer: UNMASK_CONTEXT,
    Abandonment: ABANDONMENT_CONTEXT,
}

SignedItem = RoundKeys | ShareAnnouncement | UnmaskAnswer | Abandonment


@dataclass(frozen=True)
class Peer:
    """The verified public keys of one site for one attempt."""

    site: SiteId
    seal_key: bytes
    mask_key: bytes

    @cached_property
    def seal_public(self) -> HybridPublicKey:
        """The key that shares are sealed to."""
        return HybridPublicKey.from_bytes(self.seal_key)

    @cached_property
    def mask_public(self) -> HybridPublicKey:
        """The key that pair masks come from."""
        return HybridPublicKey.from_bytes(self.mask_key)


@dataclass(frozen=True)
class Directory:
    """The sites of one attempt, sorted, with their keys; verified once built.

    Attributes:
        binding: Of the attempt.
        sha256: Of the whole directory, 32 bytes.
        peers: In the order of site names.
    """

    binding: RoundBinding
    sha256: bytes
    peers: tuple[Peer, ...]

    @cached_property
    def sites(self) -> tuple[SiteId, ...]:
        """The names, sorted."""
        return tuple(peer.site for peer in self.peers)

    @cached_property
    def scope(self) -> KeyScope:
        """What every key of the attempt is derived for."""
        return KeyScope(self.binding.sha256, self.sha256)

    @property
    def threshold(self) -> int:
        """Shares that open a secret, and sites that a sum needs."""
        return threshold_of(len(self.peers))

    def peer(self, site: SiteId) -> Peer:
        """Give one site's keys."""
        return self.peers[self.index_of(site)]

    def index_of(self, site: SiteId) -> int:
        """Give a site's place; its shares are for x = place + 1."""
        return self._places[site]

    @cached_property
    def _places(self) -> dict[SiteId, int]:
        return {site: place for place, site in enumerate(self.sites)}


def sign_item(item: SignedItem, key: SigningKey) -> Signed:
    """Sign the canonical bytes of an item in the context of its kind."""
    body = encode(item)
    return Signed(body, key.sign(body, context=_CONTEXTS[type(item)]))


def verify_round_keys(unverified: Signed, roster: Roster, binding: RoundBinding) -> RoundKeys:
    """Check one site's signed keys: signature, binding, and that the keys can be used."""
    keys = decode(RoundKeys, unverified.body)
    _verify_signature(unverified, RoundKeys, roster, keys.site)
    verify_binding(keys.binding, binding, whose=keys.site)
    for raw in (keys.seal_key, keys.mask_key):
        _verify_usable_once(raw)
    return keys


def verify_directory(
    unverified: Sequence[Signed], limits: RoundLimits, binding: RoundBinding
) -> Directory:
    """Check a whole directory: every entry, and who stands in it."""
    entries = [verify_round_keys(entry, limits.roster, binding) for entry in unverified]
    peers = tuple(Peer(SiteId(e.site), e.seal_key, e.mask_key) for e in entries)
    directory = Directory(binding, hash_of_directory(unverified), peers)
    verify_directory_sites(directory.sites, limits)
    raw_keys = [key for peer in peers for key in (peer.seal_key, peer.mask_key)]
    if len(set(raw_keys)) != len(raw_keys):
        raise AggregationRefusedError(
            "one key stands twice in the directory, each belongs to one site and one purpose",
            code=codes.FOREIGN_KEY,
        )
    return directory


def verify_announcement(
    unverified: Signed, roster: Roster, directory: Directory
) -> ShareAnnouncement:
    """Check an announcement: its maker's signature, this directory, a hash for each other site."""
    announcement = decode(ShareAnnouncement, unverified.body)
    _verify_signature(unverified, ShareAnnouncement, roster, announcement.site)
    if announcement.directory_sha256 != directory.sha256:
        raise AggregationRefusedError(
            f"{announcement.site} shared for another directory",
            hint="all sites of an attempt must be shown one directory",
            code=codes.BINDING,
        )
    site = SiteId(announcement.site)
    if site not in directory.sites:
        raise AggregationRefusedError(
            f"{site} shared and is not in the directory", code=codes.NOT_A_CHAIN
        )
    expected = [other != site for other in directory.sites]
    if [bool(packet_sha256) for packet_sha256 in announcement.packet_sha256s] != expected:
        raise AggregationRefusedError(
            f"{site} announced no packet for some site of the directory", code=codes.BAD_PACKET
        )
    return announcement


def verify_packet(
    unverified: bytes, announcement: ShareAnnouncement, directory: Directory, recipient: SiteId
) -> SharePacket:
    """Check that a packet is the announced one, for the right recipient."""
    announced = announcement.packet_sha256s[directory.index_of(recipient)]
    if hashlib.sha256(unverified).digest() != announced:
        raise AggregationRefusedError(
            f"the packet from {announcement.site} is not the one it announced",
            hint="it was changed or exchanged on the way",
            code=codes.BAD_PACKET,
        )
    packet = decode(SharePacket, unverified)
    if (packet.sender, packet.recipient) != (announcement.site, recipient):
        raise AggregationRefusedError(
            f"the packet from {announcement.site} is made out to another site",
            code=codes.BAD_PACKET,
        )
    return packet


def verify_confirmations(
    unverified: Sequence[Confirmation],
    *,
    roster: Roster,
    survivors: Sequence[SiteId],
    transcript_sha256: bytes,
    threshold: int,
) -> None:
    """Check that enough distinct survivors signed one transcript."""
    signers = [SiteId(confirmation.site) for confirmation in unverified]
    if len(set(signers)) != len(signers) or not set(signers) <= set(survivors):
        raise AggregationRefusedError(
            "a confirmation stands twice, or is of no survivor", code=codes.NOT_A_CHAIN
        )
    if len(signers) < threshold:
        raise AggregationRefusedError(
            f"{len(signers)} survivors confirmed, {threshold} needed",
            hint="nothing was revealed; wait for more confirmations",
            code=codes.TOO_FEW_SIGNATURES,
        )
    for confirmation in unverified:
        verify_confirmation(confirmation, roster, transcript_sha256)


def verify_confirmation(unverified: Confirmation, roster: Roster, transcript_sha256: bytes) -> None:
    """Check one signature over a transcript."""
    entry = _site_entry(roster, unverified.site)
    try:
        _verify_once(entry.key.raw, unverified.signature, transcript_sha256, CONFIRMATION_CONTEXT)
    except UnverifiedMessageError as error:
        raise _bad_signature(unverified.site, "confirmation of these lists") from error


def verify_unmask_answer(unverified: Signed, roster: Roster) -> UnmaskAnswer:
    """Check the signature under the shares that a site reveals."""
    answer = decode(UnmaskAnswer, unverified.body)
    _verify_signature(unverified, UnmaskAnswer, roster, answer.site)
    return answer


def verify_abandonment(unverified: bytes, roster: Roster, binding_sha256: str) -> SiteId:
    """Check that a site gave up this attempt, and give its name."""
    signed = decode(Signed, unverified)
    abandonment = decode(Abandonment, signed.body)
    _verify_signature(signed, Abandonment, roster, abandonment.site)
    if abandonment.binding_sha256 != binding_sha256:
        raise AggregationRefusedError(
            f"{abandonment.site} abandoned another attempt", code=codes.BINDING
        )
    return SiteId(abandonment.site)


def _verify_signature(unverified: Signed, kind: type, roster: Roster, site: str) -> None:
    entry = _site_entry(roster, site)
    try:
        verify = _verify if kind is UnmaskAnswer else _verify_once  # no share stays in memory
        verify(entry.key.raw, unverified.signature, unverified.body, _CONTEXTS[kind])
    except UnverifiedMessageError as error:
        raise _bad_signature(site, kind.__name__) from error


def _verify(key: bytes, signature: bytes, body: bytes, context: str) -> None:
    VerifyingKey(key).verify(signature, body, context=context)


# What fitted once fits again: the same items are met at every step, and by every site of a process.
_verify_once = functools.lru_cache(maxsize=512)(_verify)


def _site_entry(roster: Roster, site: str) -> RosterEntry:
    try:
        entry = roster.entry_of(SiteId(site))
    except UnverifiedMessageError as error:
        raise _foreign(site, "not in the roster") from error
    if entry.role != "site":
        raise _foreign(site, f"a {entry.role} in the roster, a site is needed")
    return entry


def _foreign(site: str, why: str) -> AggregationRefusedError:
    return AggregationRefusedError(f"{site[:48]!r} is {why}", code=codes.FOREIGN_KEY)


def _bad_signature(site: str, what: str) -> AggregationRefusedError:
    return AggregationRefusedError(
        f"the signature of {site} does not fit its {what}",
        hint="it was changed on the way, or signed with a key that the roster does not name",
        code=codes.BAD_SIGNATURE,
    )


# A point of low order gives zeros with any private key, so one that everybody knows finds it.
_PROBE = HybridPrivateKey.from_secret(SecretBytes(bytes(PRIVATE_BYTES)))


@functools.lru_cache(maxsize=512)
def _verify_usable_once(raw: bytes) -> None:
    diffie_hellman(_PROBE, HybridPublicKey.from_bytes(raw))
