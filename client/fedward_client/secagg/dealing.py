"""What a site deals out once it knows the directory: shares, ciphertexts, a recovery blob.

Two secrets are split, so that t sites can open one of them, never both: the seed of the self-mask
if the site survives, the key of the recovery blob if it drops out.
"""

import hashlib
from dataclasses import dataclass

from fedward_client.secagg.member_state import HeldShares
from fedward_common.crypto.entropy import Entropy, draw
from fedward_common.crypto.key_agreement import HybridPrivateKey, Kem, diffie_hellman
from fedward_common.crypto.sealing import seal
from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.crypto.shamir import split
from fedward_common.crypto.signing import SigningKey
from fedward_common.identities import SiteId
from fedward_common.secagg.key_schedule import (
    SEED_BYTES,
    RecoveryBlob,
    commit_to_recovery,
    commit_to_self_mask,
    is_subtracted,
    pair_mask_key,
    seal_associated,
    seal_blob,
    seal_key,
)
from fedward_common.secagg.messages import (
    ShareAnnouncement,
    ShareAnswer,
    SharePacket,
    encode,
)
from fedward_common.secagg.signed_items import Directory, Peer, sign_item


@dataclass(frozen=True)
class Dealt:
    """What was dealt.

    Attributes:
        answer: For the coordinator.
        self_mask_seed: To be kept.
        pair_keys: Of the pairs whose ciphertext this site made.
        own_shares: Its own share of each of its secrets.
    """

    answer: bytes
    self_mask_seed: SecretBytes
    pair_keys: dict[SiteId, SecretBytes]
    own_shares: HeldShares


@dataclass(frozen=True)
class _MadeMask:
    """The ciphertext for the mask of one pair, the secret in it, and the key it led to."""

    ciphertext: bytes
    encapsulated: SecretBytes
    key: SecretBytes


def deal(
    directory: Directory,
    site: SiteId,
    *,
    signing_key: SigningKey,
    seal_private: HybridPrivateKey,
    mask_private: HybridPrivateKey,
    entropy: Entropy,
    kem: Kem,
) -> Dealt:
    """Make the answer to a verified directory.

    Entropy is drawn in this order: seed, recovery key, the coefficients of either; ciphertexts are
    made in the directory's order, for each site that of the seal before that of the mask.
    """
    seed = SecretBytes(draw(entropy, SEED_BYTES))
    recovery_key = SecretBytes(draw(entropy, SEED_BYTES))
    seed_shares = _split(seed, directory, entropy)
    key_shares = _split(recovery_key, directory, entropy)
    held = [HeldShares(*pair) for pair in zip(seed_shares, key_shares, strict=True)]
    made: dict[SiteId, _MadeMask] = {}
    packets: list[bytes] = []
    for peer, shares in zip(directory.peers, held, strict=True):
        if peer.site == site:
            packets.append(b"")
            continue
        ciphertext, sealed = _seal_shares(directory, site, seal_private, peer, shares, kem)
        if not is_subtracted(site, peer.site):
            made[peer.site] = _make_mask(directory, site, mask_private, peer, kem)
        mask_ciphertext = made[peer.site].ciphertext if peer.site in made else b""
        packets.append(encode(SharePacket(site, peer.site, ciphertext, sealed, mask_ciphertext)))
    blob = RecoveryBlob(mask_private.to_secret(), {s: m.encapsulated for s, m in made.items()})
    sealed_blob = seal_blob(blob, recovery_key, directory.scope, site)
    announcement = ShareAnnouncement(
        site=site,
        directory_sha256=directory.sha256,
        self_mask_commitment=commit_to_self_mask(seed),
        recovery_commitment=commit_to_recovery(recovery_key),
        recovery_blob_sha256=hashlib.sha256(sealed_blob).digest(),
        packet_sha256s=tuple(hashlib.sha256(p).digest() if p else b"" for p in packets),
    )
    answer = ShareAnswer(sign_item(announcement, signing_key), tuple(packets), sealed_blob)
    return Dealt(
        encode(answer),
        seed,
        {s: m.key for s, m in made.items()},
        held[directory.index_of(site)],
    )


def _split(secret: SecretBytes, directory: Directory, entropy: Entropy) -> list[SecretBytes]:
    num_shares = len(directory.peers)
    return split(secret, num_shares=num_shares, threshold=directory.threshold, entropy=entropy)


def _seal_shares(
    directory: Directory,
    site: SiteId,
    seal_private: HybridPrivateKey,
    peer: Peer,
    shares: HeldShares,
    kem: Kem,
) -> tuple[bytes, bytes]:
    ciphertext, encapsulated = kem.encapsulate(peer.seal_public)
    scope, recipient = directory.scope, peer.site
    key = seal_key(
        diffie_hellman(seal_private, peer.seal_public),
        encapsulated,
        scope,
        sender=site,
        recipient=recipient,
        ciphertext=ciphertext,
    )
    both = shares.self_mask.reveal() + shares.recovery.reveal()
    associated = seal_associated(scope, sender=site, recipient=recipient)
    return ciphertext, seal(key, both, associated=associated)


def _make_mask(
    directory: Directory, site: SiteId, mask_private: HybridPrivateKey, peer: Peer, kem: Kem
) -> _MadeMask:
    ciphertext, encapsulated = kem.encapsulate(peer.mask_public)
    agreed = diffie_hellman(mask_private, peer.mask_public)
    pair = (site, peer.site)
    key = pair_mask_key(agreed, encapsulated, directory.scope, pair, ciphertext=ciphertext)
    return _MadeMask(ciphertext, encapsulated, key)
