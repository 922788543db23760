"""The messages of secure aggregation, one frozen dataclass each, in canonical CBOR.

What one site makes and another relies on is relayed with its maker's signature (`Signed`), each
kind in a context of its own. Lengths of keys, hashes, ciphertexts and shares are checked when a
message is built, so whoever holds one need not look again. Hashes are 32 bytes here, not hex: a
round of 100 sites carries ten thousand of them.
"""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from fedward_common.crypto.key_agreement import CIPHERTEXT_BYTES, PUBLIC_BYTES
from fedward_common.crypto.shamir import SHARE_BYTES
from fedward_common.errors import FedwardError, MalformedMessageError
from fedward_common.secagg.binding import RoundBinding
from fedward_common.wire.canonical_cbor import decode_canonically, encode_canonically
from fedward_common.wire.messages import plain_dataclass, plain_values
from fedward_common.wire.typed_cbor import UnusualError, decode_typed, encode_typed

SHA256_BYTES = 32
SIGNATURE_BYTES = 64
# Two shares and the tag of AES-256-GCM.
SEALED_SHARES_BYTES = 2 * SHARE_BYTES + 16

# Contexts of signatures: what was signed as one of these is never taken for another.
ROUND_KEYS_CONTEXT = "fedward secagg round keys v1"
ANNOUNCEMENT_CONTEXT = "fedward secagg share announcement v1"
CONFIRMATION_CONTEXT = "fedward secagg confirmation v1"
UNMASK_CONTEXT = "fedward secagg unmask answer v1"
ABANDONMENT_CONTEXT = "fedward secagg abandonment v1"

ShareKind = Literal["self-mask", "recovery"]
SELF_MASK: ShareKind = "self-mask"
RECOVERY: ShareKind = "recovery"


def _require_length(what: str, value: bytes, *lengths: int) -> None:
    if len(value) not in lengths:
        needed = " or ".join(map(str, lengths))
        raise MalformedMessageError(f"{what} has {len(value)} bytes, {needed} needed")


@dataclass(frozen=True)
class Signed:
    """The canonical body of a message, and its maker's signature."""

    body: bytes
    signature: bytes

    def __post_init__(self) -> None:
        _require_length("a signature", self.signature, SIGNATURE_BYTES)


@dataclass(frozen=True)
class RoundKeys:
    """READY: the fresh public keys of one site for one attempt; signed."""

    binding: RoundBinding
    site: str
    seal_key: bytes
    mask_key: bytes

    def __post_init__(self) -> None:
        _require_length("a seal key", self.seal_key, PUBLIC_BYTES)
        _require_length("a mask key", self.mask_key, PUBLIC_BYTES)


@dataclass(frozen=True)
class ShareRequest:
    """The directory: the signed round keys of all sites of the attempt, sorted by site."""

    directory: tuple[Signed, ...]


@dataclass(frozen=True)
class ShareAnnouncement:
    """What a site commits itself to before anybody masks; signed.

    Attributes:
        site: Whose it is.
        directory_sha256: The directory it answers.
        self_mask_commitment: Hash of its self-mask seed.
        recovery_commitment: Hash of the key of its recovery blob.
        recovery_blob_sha256: Of the blob, which only the coordinator gets.
        packet_sha256s: Of its packet to each site, in the directory's order; empty for itself.
    """

    site: str
    directory_sha256: bytes
    self_mask_commitment: bytes
    recovery_commitment: bytes
    recovery_blob_sha256: bytes
    packet_sha256s: tuple[bytes, ...]

    def __post_init__(self) -> None:
        for name in (
            "directory_sha256",
            "self_mask_commitment",
            "recovery_commitment",
            "recovery_blob_sha256",
        ):
            _require_length(name, getattr(self, name), SHA256_BYTES)
        for packet_sha256 in self.packet_sha256s:
            _require_length("the hash of a packet", packet_sha256, SHA256_BYTES, 0)


@dataclass(frozen=True)
class SharePacket:
    """From one site to one other: its two shares, and for the pair's mask a ciphertext.

    Of a pair, the site whose name sorts first makes the mask ciphertext; the other's is empty.
    """

    sender: str
    recipient: str
    seal_ciphertext: bytes
    sealed_shares: bytes
    mask_ciphertext: bytes

    def __post_init__(self) -> None:
        _require_length("a seal ciphertext", self.seal_ciphertext, CIPHERTEXT_BYTES)
        _require_length("sealed shares", self.sealed_shares, SEALED_SHARES_BYTES)
        makes_mask = self.sender < self.recipient
        _require_length(
            "a mask ciphertext", self.mask_ciphertext, CIPHERTEXT_BYTES if makes_mask else 0
        )


@dataclass(frozen=True)
class ShareAnswer:
    """A site's answer to the directory; the packets in its order, empty for itself."""

    announcement: Signed
    packets: tuple[bytes, ...]
    recovery_blob: bytes


@dataclass(frozen=True)
class Sharer:
    """What one site shared, as it is passed on to another: `packet` is empty for itself."""

    announcement: Signed
    packet: bytes


@dataclass(frozen=True)
class MaskRequest:
    """Who shared, sorted by site, with their packets for the one who is asked."""

    sharers: tuple[Sharer, ...]


@dataclass(frozen=True)
class ConfirmRequest:
    """Whose masked vectors are in the sum, and whose of the sharers are not; both sorted."""

    directory_sha256: bytes
    survivors: tuple[str, ...]
    dropouts: tuple[str, ...]


@dataclass(frozen=True)
class Confirmation:
    """A site's signature over the transcript of the attempt."""

    site: str
    signature: bytes

    def __post_init__(self) -> None:
        _require_length("a signature", self.signature, SIGNATURE_BYTES)


@dataclass(frozen=True)
class UnmaskRequest:
    """The same lists, and enough confirmations of them, sorted by site."""

    directory_sha256: bytes
    survivors: tuple[str, ...]
    dropouts: tuple[str, ...]
    confirmations: tuple[Confirmation, ...]


@dataclass(frozen=True)
class RevealedShare:
    """One share: of a survivor's self-mask seed, or of the key of a dropout's recovery blob."""

    site: str
    kind: ShareKind
    share: bytes = dataclasses.field(repr=False)

    def __post_init__(self) -> None:
        _require_length("a share", self.share, SHARE_BYTES)


@dataclass(frozen=True)
class UnmaskAnswer:
    """The shares that one site reveals, sorted by site; signed."""

    site: str
    transcript_sha256: bytes
    shares: tuple[RevealedShare, ...]

    def __post_init__(self) -> None:
        _require_length("the hash of a transcript", self.transcript_sha256, SHA256_BYTES)


@dataclass(frozen=True)
class Abandonment:
    """A site will never confirm or unmask the attempt that has this binding; signed."""

    site: str
    binding_sha256: str


Message = (
    Signed
    | RoundKeys
    | ShareRequest
    | ShareAnnouncement
    | SharePacket
    | ShareAnswer
    | MaskRequest
    | ConfirmRequest
    | Confirmation
    | UnmaskRequest
    | UnmaskAnswer
    | Abandonment
)

# The largest message of each kind at 512 sites, rounded up; 8 KiB for what does not grow.
_MAX_BYTES: dict[type, int] = {
    ShareRequest: 2 << 20,
    ShareAnnouncement: 32 << 10,
    ShareAnswer: 2 << 20,
    MaskRequest: 16 << 20,
    ConfirmRequest: 64 << 10,
    UnmaskRequest: 128 << 10,
    Signed: 256 << 10,
    UnmaskAnswer: 192 << 10,
}
_MAX_SMALL_BYTES = 8 << 10

M = TypeVar("M", bound=Message)
T = TypeVar("T")


def encode(message: Message) -> bytes:
    """Give a message's one encoding."""
    return encode_value(message)


def decode(kind: type[M], unverified: bytes) -> M:
    """Rebuild a message of a known kind.

    Raises:
        MalformedMessageError: Too long; not canonical; a field missing, extra, or of a wrong type
            or length.
    """
    if kind in _RELAYED:
        return _decode_relayed(kind, unverified)  # type: ignore[no-any-return, arg-type]
    return _decode(kind, unverified)


def encode_abandonments(signed: Sequence[bytes]) -> bytes:
    """Give encoded `Signed` abandonments of one attempt as one message."""
    return encode_canonically(list(signed))


def decode_abandonments(unverified: bytes) -> list[bytes]:
    """Take them apart; whether they hold, `verify_abandonment` says of each.

    Raises:
        MalformedMessageError: It is no list of byte strings.
    """
    signed = decode_canonically(unverified)
    if not isinstance(signed, list) or not all(isinstance(item, bytes) for item in signed):
        raise MalformedMessageError("abandonments are a list of byte strings")
    return signed


def _decode(kind: type[M], unverified: bytes) -> M:
    return decode_value(kind, unverified, max_bytes=_MAX_BYTES.get(kind, _MAX_SMALL_BYTES))


def encode_value(value: object) -> bytes:
    """Give the one encoding of a dataclass of plain values."""
    try:
        return encode_typed(value)
    except UnusualError:
        return encode_canonically(plain_values(value))


def decode_value(kind: type[T], unverified: bytes, *, max_bytes: int) -> T:
    """Rebuild a dataclass of plain values.

    Raises:
        MalformedMessageError: As `decode`.
    """
    if len(unverified) <= max_bytes:
        try:
            return decode_typed(kind, unverified)
        except (UnusualError, FedwardError):
            pass  # what is wrong, the general way says
    return plain_dataclass(kind, decode_canonically(unverified, max_bytes=max_bytes))


# Nothing secret, and the same bytes for all: whoever meets them again, as every step does, or plays
# several sites, as a simulation does, reads them once.
_RELAYED = frozenset({ShareRequest, RoundKeys, ShareAnnouncement, Confirmation})
_decode_relayed = functools.lru_cache(maxsize=512)(_decode)
