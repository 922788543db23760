"""What a site takes from the others' packets: their shares, and the keys of pair masks."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fedward_client.secagg.member_state import (
    HeldShares,
    MemberRules,
    MemberState,
    RoundSecrets,
    Stage,
)
from fedward_client.secagg.step_guards import (
    MASK,
    SHARE,
    directory_of,
    private_keys_of,
    secrets_of,
    with_answer,
)
from fedward_common.crypto.key_agreement import HybridPrivateKey, decapsulate, diffie_hellman
from fedward_common.crypto.mask_stream import Mask
from fedward_common.crypto.sealing import open_sealed
from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.crypto.shamir import SHARE_BYTES
from fedward_common.errors import AggregationRefusedError, UnverifiedMessageError
from fedward_common.identities import SiteId
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.key_schedule import (
    is_subtracted,
    pair_mask_key,
    seal_associated,
    seal_key,
    self_mask_key,
)
from fedward_common.secagg.messages import MaskRequest, ShareAnswer, SharePacket, Signed, decode
from fedward_common.secagg.rules import RoundLimits, verify_present, verify_sharers
from fedward_common.secagg.signed_items import Directory, verify_announcement, verify_packet
from fedward_common.secagg.transcript import hash_of_sharers


@dataclass(frozen=True)
class VerifiedSharers:
    """Who shared, and their packets for this site.

    Attributes:
        sites: Sorted, itself among them.
        announcements: As they were signed, in the same order.
        packets: Of all but itself.
    """

    sites: tuple[SiteId, ...]
    announcements: tuple[Signed, ...]
    packets: tuple[SharePacket, ...]


def verify_mask_request(
    unverified: bytes,
    *,
    site: SiteId,
    own_answer: bytes,
    directory: Directory,
    limits: RoundLimits,
) -> VerifiedSharers:
    """Check who shared: the lists, every announcement, and every packet for this site."""
    request = decode(MaskRequest, unverified)
    own = decode(ShareAnswer, own_answer).announcement
    items = []
    for sharer in request.sharers:
        announcement = verify_announcement(sharer.announcement, limits.roster, directory)
        if announcement.site == site and sharer.announcement != own:
            raise AggregationRefusedError(
                "the announcement under this site's name is not the one it signed",
                code=codes.KEYS_CHANGED,
            )
        items.append((SiteId(announcement.site), announcement, sharer))
    sites = tuple(name for name, _, _ in items)
    verify_present(site, sites, "the sharers")
    verify_sharers(sites, directory.sites, limits)
    packets = []
    for name, announcement, sharer in items:
        if name != site:
            packets.append(verify_packet(sharer.packet, announcement, directory, site))
        elif sharer.packet:
            raise AggregationRefusedError(
                "a packet from this site to itself came back", code=codes.BAD_PACKET
            )
    return VerifiedSharers(sites, tuple(s.announcement for s in request.sharers), tuple(packets))


def open_packet(
    packet: SharePacket, directory: Directory, seal_private: HybridPrivateKey
) -> HeldShares | None:
    """Give the shares in a packet; None where its sender sealed it wrongly."""
    sender, recipient = SiteId(packet.sender), SiteId(packet.recipient)
    key = seal_key(
        diffie_hellman(seal_private, directory.peer(sender).seal_public),
        decapsulate(seal_private, packet.seal_ciphertext),
        directory.scope,
        sender=sender,
        recipient=recipient,
        ciphertext=packet.seal_ciphertext,
    )
    associated = seal_associated(directory.scope, sender=sender, recipient=recipient)
    try:
        both = open_sealed(key, packet.sealed_shares, associated=associated)
    except UnverifiedMessageError:
        return None
    return HeldShares(SecretBytes(both[:SHARE_BYTES]), SecretBytes(both[SHARE_BYTES:]))


def received_pair_key(
    packet: SharePacket, directory: Directory, mask_private: HybridPrivateKey
) -> SecretBytes:
    """Derive the key of a pair's mask from the ciphertext that the other site made."""
    sender, recipient = SiteId(packet.sender), SiteId(packet.recipient)
    return pair_mask_key(
        diffie_hellman(mask_private, directory.peer(sender).mask_public),
        decapsulate(mask_private, packet.mask_ciphertext),
        directory.scope,
        (sender, recipient),
        ciphertext=packet.mask_ciphertext,
    )


def take_packets(state: MemberState, rules: MemberRules, request: bytes) -> MemberState:
    """Check who shared, open their packets, and give the state of one who may mask."""
    directory = directory_of(state)
    sharers = verify_mask_request(
        request,
        site=state.site,
        own_answer=state.answered[SHARE].answer,
        directory=directory,
        limits=rules,
    )
    secrets, notes = _with_received(state, sharers)
    after = dataclasses.replace(
        state,
        stage=Stage.MASKED,
        sharers=sharers.sites,
        sharers_sha256=hash_of_sharers(sharers.announcements),
        has_masked=True,
        notes=(*state.notes, *notes),
        secrets=secrets,
    )
    return with_answer(after, MASK, request, b"")


def _with_received(state: MemberState, sharers: VerifiedSharers) -> tuple[RoundSecrets, list[str]]:
    """Open all packets; the private keys are not needed any longer afterwards."""
    directory, secrets = directory_of(state), secrets_of(state)
    seal_private, mask_private = private_keys_of(state)
    held, pair_keys, notes = dict(secrets.held), dict(secrets.pair_keys), []
    for packet in sharers.packets:
        sender = SiteId(packet.sender)
        shares = open_packet(packet, directory, seal_private)
        if shares is None:
            notes.append(f"the shares from {sender} do not open")
        else:
            held[sender] = shares
        if packet.mask_ciphertext:
            pair_keys[sender] = received_pair_key(packet, directory, mask_private)
    received: dict[str, Any] = {"held": held, "pair_keys": pair_keys}
    gone: dict[str, Any] = dict.fromkeys(("seal_private", "mask_private", "own_keys"))
    return dataclasses.replace(secrets, **gone, **received), notes


def masks_of(
    site: SiteId, sharers: Sequence[SiteId], directory: Directory, secrets: RoundSecrets
) -> list[Mask]:
    """Give all masks of a contribution: its own, and one for each other sharer."""
    if secrets.self_mask_seed is None:
        raise AggregationRefusedError("the secrets of this attempt are gone", code=codes.CLOSED)
    own = Mask(self_mask_key(secrets.self_mask_seed, directory.scope, site), negative=False)
    pairs = [
        Mask(secrets.pair_keys[other], negative=is_subtracted(site, other))
        for other in sharers
        if other != site
    ]
    return [own, *pairs]
