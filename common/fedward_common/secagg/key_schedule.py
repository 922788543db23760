"""Every key of an attempt, each with a label of its own and bound to where it is used.

Info of each key: the attempt's binding, the directory, the sites in order (sender and recipient of
sealed shares; the two of a pair by name), and the hash of the ciphertext it came from. So a key
that was made for another run, round, attempt, roster, codec or pair never fits.
"""

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from fedward_common.crypto.key_agreement import PRIVATE_BYTES, SHARED_BYTES, combined_key
from fedward_common.crypto.key_derivation import derive_key, framed
from fedward_common.crypto.sealing import open_sealed, seal
from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.errors import MalformedMessageError
from fedward_common.identities import SiteId
from fedward_common.wire.canonical_cbor import decode_canonically, encode_canonically
from fedward_common.wire.messages import plain_dataclass

SEED_BYTES = 32

_SEAL_LABEL = "fedward secagg seal v1"
_PAIR_MASK_LABEL = "fedward secagg pair mask v1"
_SELF_MASK_LABEL = "fedward secagg self mask v1"
_RECOVERY_LABEL = "fedward secagg recovery blob v1"
_SELF_MASK_COMMITMENT = "fedward secagg self mask commitment v1"
_RECOVERY_COMMITMENT = "fedward secagg recovery commitment v1"


@dataclass(frozen=True)
class KeyScope:
    """What every key of an attempt is bound to.

    Attributes:
        binding_sha256: Of the attempt's binding, in hex.
        directory_sha256: Of its directory, 32 bytes.
    """

    binding_sha256: str
    directory_sha256: bytes

    def info(self, *parts: str | bytes) -> bytes:
        """Frame the scope and what else a key is bound to; one encoding for one meaning."""
        return self._framed_scope + encode_canonically(list(parts))

    @functools.cached_property
    def _framed_scope(self) -> bytes:
        """A list of three without its last: what begins the frame of every key of the attempt."""
        return encode_canonically([self.binding_sha256, self.directory_sha256, []])[:-1]


def seal_key(
    agreed: SecretBytes,
    encapsulated: SecretBytes,
    scope: KeyScope,
    *,
    sender: SiteId,
    recipient: SiteId,
    ciphertext: bytes,
) -> SecretBytes:
    """Derive the key that seals one packet of shares."""
    info = scope.info(sender, recipient, hashlib.sha256(ciphertext).digest())
    return combined_key(agreed, encapsulated, label=_SEAL_LABEL, context=info)


def seal_associated(scope: KeyScope, *, sender: SiteId, recipient: SiteId) -> bytes:
    """Give what is authenticated beside sealed shares."""
    return scope.info(_SEAL_LABEL, sender, recipient)


def pair_mask_key(
    agreed: SecretBytes,
    encapsulated: SecretBytes,
    scope: KeyScope,
    pair: tuple[SiteId, SiteId],
    *,
    ciphertext: bytes,
) -> SecretBytes:
    """Derive the key of a pair's mask; the same for both, in whichever order they are named."""
    info = scope.info(min(pair), max(pair), hashlib.sha256(ciphertext).digest())
    return combined_key(agreed, encapsulated, label=_PAIR_MASK_LABEL, context=info)


def is_subtracted(own: SiteId, other: SiteId) -> bool:
    """Say whether `own` subtracts the mask it shares with `other`, who then adds it."""
    return own > other


def self_mask_key(seed: SecretBytes, scope: KeyScope, site: SiteId) -> SecretBytes:
    """Derive the key of a site's own mask from its seed."""
    return derive_key(seed, label=_SELF_MASK_LABEL, context=scope.info(site))


def commit_to_self_mask(seed: SecretBytes) -> bytes:
    """Hash a self-mask seed; 32 random bytes are not guessed from it."""
    return _commitment(_SELF_MASK_COMMITMENT, seed)


def commit_to_recovery(key: SecretBytes) -> bytes:
    """Hash the key of a recovery blob."""
    return _commitment(_RECOVERY_COMMITMENT, key)


def _commitment(label: str, secret: SecretBytes) -> bytes:
    return hashlib.sha256(framed(label, secret.reveal_exactly(SEED_BYTES))).digest()


@dataclass(frozen=True)
class RecoveryBlob:
    """What takes a dropout's pair masks out of a sum.

    Attributes:
        mask_private: Its mask keys, 96 bytes; never the seal keys, which open shares.
        encapsulated: The secrets it made for the mask keys of sites that sort after it.
    """

    mask_private: SecretBytes
    encapsulated: Mapping[SiteId, SecretBytes]


@dataclass(frozen=True)
class _PlainBlob:
    mask_private: bytes
    encapsulated: dict[str, bytes]


def blob_bytes(num_later_sites: int) -> int:
    """Give the most bytes that an honest blob has."""
    return 256 + PRIVATE_BYTES + 96 * num_later_sites


def seal_blob(blob: RecoveryBlob, key: SecretBytes, scope: KeyScope, site: SiteId) -> bytes:
    """Wrap a recovery blob; `key` is drawn for it and seals nothing else."""
    plain = {
        "mask_private": blob.mask_private.reveal(),
        "encapsulated": {site: secret.reveal() for site, secret in blob.encapsulated.items()},
    }
    return seal(
        _wrapping_key(key, scope, site),
        encode_canonically(plain),
        associated=scope.info(_RECOVERY_LABEL, site),
    )


def open_blob(sealed: bytes, key: SecretBytes, scope: KeyScope, site: SiteId) -> RecoveryBlob:
    """Unwrap a recovery blob.

    Raises:
        UnverifiedMessageError: It was sealed with another key, or for another site or attempt.
        MalformedMessageError: Its content has another form.
    """
    associated = scope.info(_RECOVERY_LABEL, site)
    opened = open_sealed(_wrapping_key(key, scope, site), sealed, associated=associated)
    plain = plain_dataclass(_PlainBlob, decode_canonically(opened))
    secrets = [plain.mask_private, *plain.encapsulated.values()]
    if [len(s) for s in secrets] != [PRIVATE_BYTES, *[SHARED_BYTES] * (len(secrets) - 1)]:
        raise MalformedMessageError("a recovery blob holds secrets of other lengths")
    return RecoveryBlob(
        SecretBytes(plain.mask_private),
        {SiteId(name): SecretBytes(raw) for name, raw in plain.encapsulated.items()},
    )


def _wrapping_key(key: SecretBytes, scope: KeyScope, site: SiteId) -> SecretBytes:
    return derive_key(key, label=_RECOVERY_LABEL, context=scope.info(site))
