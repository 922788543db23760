"""From revealed shares to the masks that are taken off a sum.

Of each survivor the self-mask seed is put together, of each dropout the key of its recovery blob.
What comes out is compared with the commitment that its site signed. Where it does not fit, some
share is wrong, and other subsets are tried: with up to ten sites all of them, with a hundred enough
to bear two sites that lie.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fedward_common.crypto.key_agreement import HybridPrivateKey, decapsulate, diffie_hellman
from fedward_common.crypto.mask_stream import Mask
from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.crypto.shamir import combine
from fedward_common.errors import (
    AggregationRefusedError,
    MalformedMessageError,
    UnverifiedMessageError,
)
from fedward_common.identities import SiteId
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.key_schedule import (
    commit_to_recovery,
    commit_to_self_mask,
    is_subtracted,
    open_blob,
    pair_mask_key,
    self_mask_key,
)
from fedward_common.secagg.messages import (
    RECOVERY,
    SELF_MASK,
    ShareKind,
    SharePacket,
    UnmaskAnswer,
    decode,
)
from fedward_server.secagg.attempt_state import AttemptState

MAX_SUBSETS = 4096

Shares = dict[SiteId, SecretBytes]
"""Of one secret, by who revealed it."""


@dataclass(frozen=True, order=True)
class WrongShare:
    """A share that does not fit the others: one of the two lied, and which cannot be told.

    Attributes:
        of: Whose secret it is; it dealt the share.
        revealed_by: Who held it.
    """

    of: SiteId
    revealed_by: SiteId


@dataclass(frozen=True)
class RecoveredMasks:
    """The masks that are in a sum, and the wrong shares that were found on the way."""

    masks: tuple[Mask, ...]
    wrong_shares: tuple[WrongShare, ...]


def kind_of(state: AttemptState, site: SiteId) -> ShareKind:
    """Say which of a sharer's two secrets is opened."""
    return SELF_MASK if site in state.survivors else RECOVERY


def revealed_shares(state: AttemptState) -> dict[SiteId, Shares]:
    """Give the shares of each sharer's secret that came so far."""
    shares: dict[SiteId, Shares] = {site: {} for site in state.sharers}
    for sender, signed in state.unmasked.items():
        for item in decode(UnmaskAnswer, signed.body).shares:
            shares[SiteId(item.site)][sender] = SecretBytes(item.share)
    return shares


def recover_masks(state: AttemptState) -> RecoveredMasks:
    """Open every secret that the confirmed lists name, and derive the masks in the sum.

    Raises:
        AggregationRefusedError: `SECAGG_UNRECOVERABLE`: too few good shares of some secret, or a
            dropout's recovery blob holds no keys that fit.
    """
    shares = revealed_shares(state)
    wrong: set[WrongShare] = set()
    masks: list[Mask] = []
    scope = state.directory.scope
    for site in state.sharers:
        secret = _recover(state, site, shares[site], wrong)
        if kind_of(state, site) == SELF_MASK:
            masks.append(Mask(self_mask_key(secret, scope, site), negative=False))
        else:
            masks.extend(_masks_left_by(state, site, secret))
    return RecoveredMasks(tuple(masks), tuple(sorted(wrong)))


def _recover(
    state: AttemptState, site: SiteId, shares: Shares, wrong: set[WrongShare]
) -> SecretBytes:
    """Put one secret together; adds to `wrong` which shares of it were."""
    announcement = state.announcement_of(site)
    is_self_mask = kind_of(state, site) == SELF_MASK

    def fits(senders: Sequence[SiteId]) -> SecretBytes | None:
        secret = _combined(state, {sender: shares[sender] for sender in senders})
        if secret is None:
            return None
        if is_self_mask:
            fitting = commit_to_self_mask(secret) == announcement.self_mask_commitment
        else:
            fitting = commit_to_recovery(secret) == announcement.recovery_commitment
        return secret if fitting else None

    # Who revealed a wrong share of one secret is asked last about the next.
    doubtful = {share.revealed_by for share in wrong}
    senders = sorted(shares, key=lambda sender: (sender in doubtful, sender))
    subsets = _subsets(senders, state.threshold)
    for number, subset in enumerate(itertools.islice(subsets, MAX_SUBSETS)):
        if (secret := fits(subset)) is not None:
            if number > 0:
                others = [sender for sender in senders if sender not in subset]
                odd = [sender for sender in others if fits([*subset[1:], sender]) is None]
                wrong |= {WrongShare(site, sender) for sender in odd}
            return secret
    raise AggregationRefusedError(
        f"{len(shares)} shares of {site}'s secret came, no {state.threshold} of them fit",
        hint="take the answers of more sites, or start the round anew; shares were wrong from: "
        + (", ".join(sorted(doubtful)) or "nobody known"),
        code=codes.UNRECOVERABLE,
    )


def _combined(state: AttemptState, shares: Mapping[SiteId, SecretBytes]) -> SecretBytes | None:
    by_x = {state.directory.index_of(sender) + 1: share for sender, share in shares.items()}
    try:
        return combine(by_x, state.threshold)
    except (UnverifiedMessageError, MalformedMessageError):
        return None


def _subsets(senders: Sequence[SiteId], size: int) -> Iterator[tuple[SiteId, ...]]:
    """Give every subset of a size once; those first that need the fewest senders."""
    for last in range(size - 1, len(senders)):
        # All that end with this sender: leave out of those before it all but size - 1.
        for left_out in itertools.combinations(senders[:last], last - size + 1):
            kept = [s for s in senders[:last] if s not in left_out]
            yield (*kept, senders[last])


def _masks_left_by(state: AttemptState, dropout: SiteId, key: SecretBytes) -> list[Mask]:
    """Give the masks that survivors share with one dropout, with the sign they have in the sum."""
    directory = state.directory
    try:
        blob = open_blob(state.share_answers[dropout].recovery_blob, key, directory.scope, dropout)
        private = HybridPrivateKey.from_secret(blob.mask_private)
    except (UnverifiedMessageError, MalformedMessageError) as error:
        raise _useless_blob(dropout) from error
    if private.public != directory.peer(dropout).mask_public:
        raise _useless_blob(dropout)
    masks = []
    for survivor in state.survivors:
        maker, other = min(dropout, survivor), max(dropout, survivor)
        ciphertext = _mask_ciphertext(state, maker, other)
        if maker == dropout:
            encapsulated = blob.encapsulated.get(survivor)
        else:
            encapsulated = decapsulate(private, ciphertext)
        if encapsulated is None:
            raise _useless_blob(dropout)
        pair_key = pair_mask_key(
            diffie_hellman(private, directory.peer(survivor).mask_public),
            encapsulated,
            directory.scope,
            (dropout, survivor),
            ciphertext=ciphertext,
        )
        masks.append(Mask(pair_key, negative=is_subtracted(survivor, dropout)))
    return masks


def _mask_ciphertext(state: AttemptState, maker: SiteId, other: SiteId) -> bytes:
    packet = state.share_answers[maker].packets[state.directory.index_of(other)]
    return decode(SharePacket, packet).mask_ciphertext


def _useless_blob(dropout: SiteId) -> AggregationRefusedError:
    return AggregationRefusedError(
        f"the recovery blob of {dropout} holds no keys that fit what it announced",
        hint="the sum cannot be unmasked; try again without this site",
        code=codes.UNRECOVERABLE,
    )
