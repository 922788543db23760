"""What is checked in a site's answer to a step, so that one faulty site is left out by itself."""

import hashlib

from fedward_common.errors import AggregationRefusedError
from fedward_common.identities import SiteId
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.key_schedule import blob_bytes
from fedward_common.secagg.messages import ShareAnswer, UnmaskAnswer
from fedward_common.secagg.signed_items import Directory, verify_announcement, verify_packet
from fedward_server.secagg.attempt_state import AttemptState, CoordinatorRules
from fedward_server.secagg.unmasking import kind_of


def verify_share_answer(
    directory: Directory, rules: CoordinatorRules, site: SiteId, unverified: ShareAnswer
) -> None:
    """Check the announcement, each packet and the blob of one site.

    Raises:
        AggregationRefusedError: The name of the rule that the answer breaks.
        MalformedMessageError: A part is not canonical.
    """
    announcement = verify_announcement(unverified.announcement, rules.roster, directory)
    require_from(site, announcement.site)
    if len(unverified.packets) != len(directory.sites):
        raise _bad_packet(site, f"{len(unverified.packets)} packets came")
    for recipient, packet in zip(directory.sites, unverified.packets, strict=True):
        if recipient != site:
            verify_packet(packet, announcement, directory, recipient)
        elif packet:
            raise _bad_packet(site, "a packet to itself came")
    blob = unverified.recovery_blob
    num_later = len(directory.sites) - 1 - directory.index_of(site)
    if len(blob) > blob_bytes(num_later):
        raise _bad_packet(site, f"a recovery blob of {len(blob)} bytes came")
    if hashlib.sha256(blob).digest() != announcement.recovery_blob_sha256:
        raise _bad_packet(site, "another recovery blob came than was announced")


def verify_shares_asked_for(state: AttemptState, revealed: UnmaskAnswer) -> None:
    """Check that a site revealed shares for these lists, each once and of the kind it should be.

    Raises:
        AggregationRefusedError: The name of the rule that they break.
    """
    if revealed.transcript_sha256 != state.transcript_sha256:
        raise AggregationRefusedError(
            f"{revealed.site} revealed shares for other lists", code=codes.BINDING
        )
    sites = [share.site for share in revealed.shares]
    if sites != sorted(set(sites)) or not set(sites) <= set(state.sharers):
        raise AggregationRefusedError(
            f"{revealed.site} revealed shares of a site twice, or of no sharer",
            code=codes.NOT_A_CHAIN,
        )
    if any(share.kind != kind_of(state, SiteId(share.site)) for share in revealed.shares):
        raise AggregationRefusedError(
            f"{revealed.site} revealed a share of the wrong kind", code=codes.LISTS_OVERLAP
        )


def require_from(site: SiteId, named: str) -> None:
    """Check that what a site sent names itself."""
    if named != site:
        raise AggregationRefusedError(
            f"{site} sent what names {named[:48]!r}", code=codes.FOREIGN_KEY
        )


def require_same(site: SiteId, is_same: bool) -> None:
    """Check that a site answered as before."""
    if not is_same:
        raise AggregationRefusedError(
            f"{site} answered one request in two ways", code=codes.SECOND_REQUEST
        )


def _bad_packet(site: SiteId, what: str) -> AggregationRefusedError:
    return AggregationRefusedError(f"{site}: {what}", code=codes.BAD_PACKET)
