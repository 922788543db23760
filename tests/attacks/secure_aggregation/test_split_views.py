"""A coordinator that shows different things to different sites, or two things to one."""

from tests.attacks.secure_aggregation.attacker import (
    changed,
    corrupted,
    finish,
    lists_of,
    refuses,
    request_to_unmask,
    signature_of,
)
from tests.attacks.secure_aggregation.shown_directories import (
    entries_of,
    keys_of_attacker,
    shown,
)
from tests.secagg_federation import Federation, make_federation
from tests.secagg_steps import up_to

from fedward_client.secagg_member import Stage
from fedward_common.identities import SiteId
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.messages import (
    Confirmation,
    MaskRequest,
    RoundKeys,
    ShareAnnouncement,
    ShareAnswer,
    Sharer,
    decode,
    encode,
)
from fedward_server import secagg_coordinator as coordinator


def mask_is_refused(federation: Federation, site: SiteId, sharers: list[Sharer], code: str) -> None:
    request = encode(MaskRequest(tuple(sharers)))
    refuses(federation, site, lambda: federation.mask_one(site, request), code)


def confirm_is_refused(federation: Federation, site: SiteId, request: bytes, code: str) -> None:
    refuses(federation, site, lambda: federation.confirm_one(site, request), code)


def test_a_second_directory_is_not_answered(seven: Federation) -> None:
    """Shares of one secret for two directories would be more than t of them somewhere."""
    entries = entries_of(seven)
    victim = seven.sites[0]
    shown(seven, victim, entries)()
    refuses(seven, victim, shown(seven, victim, entries[:6]), codes.SECOND_REQUEST)
    refuses(seven, victim, shown(seven, victim, entries[:4]), codes.SECOND_REQUEST)


def test_sites_that_saw_two_directories_do_not_mask_together(seven: Federation) -> None:
    """A dishonest site signs two sets of keys, and each half of the others sees one."""
    liar = corrupted(seven)[-1]
    entries = entries_of(seven)
    second = [*entries[:6], changed(entries[6], RoundKeys, liar, **keys_of_attacker())]
    answers = {}
    for site, directory in zip(seven.sites[:6], [entries, second] * 3, strict=True):
        answers[site] = decode(ShareAnswer, shown(seven, site, directory)())
    for site in seven.sites[:6]:
        place = seven.sites.index(site)
        sharers = [Sharer(a.announcement, a.packets[place]) for a in answers.values()]
        mask_is_refused(seven, site, sharers, codes.BINDING)


def test_two_lists_of_sharers_never_come_to_one_transcript(seven: Federation) -> None:
    """Half of the sites mask with one more site than the others do; no sum has t signatures."""
    seven.share()
    requests = coordinator.mask_requests(seven.attempt)
    liar = seven.sites[6]
    for number, site in enumerate(seven.sites[:6]):
        request = decode(MaskRequest, requests[site])
        sharers = request.sharers if number % 2 else request.sharers[:6]
        seven.mask_one(site, encode(MaskRequest(sharers)))
    survivors = lists_of(seven, seven.sites[:6], [])
    signed = []
    for number, site in enumerate(seven.sites[:6]):
        if number % 2:  # for these the seventh is a sharer, and stands in no list
            confirm_is_refused(seven, site, encode(survivors), codes.NOT_A_CHAIN)
        else:
            signed.append(decode(Confirmation, seven.confirm_one(site, encode(survivors))))
    signed.append(signature_of(seven, survivors, seven.sites[5]))
    victim = seven.sites[0]
    request_ = request_to_unmask(survivors, signed)
    refuses(seven, victim, lambda: seven.unmask_one(victim, request_), codes.TOO_FEW_SIGNATURES)
    assert liar not in survivors.survivors


def test_a_second_list_of_sharers_is_not_masked_for(seven: Federation) -> None:
    """The difference of the two masked vectors would be the mask of one pair."""
    seven.share()
    victim = seven.sites[0]
    requests = coordinator.mask_requests(seven.attempt)
    seven.mask_one(victim, requests[victim])
    fewer = encode(MaskRequest(decode(MaskRequest, requests[victim]).sharers[:6]))
    refuses(seven, victim, lambda: seven.mask_one(victim, fewer), codes.SECOND_REQUEST)
    finish(seven)


def test_two_announcements_of_one_site_do_not_come_to_one_transcript(seven: Federation) -> None:
    """With two commitments a wrong share could be passed off as a good one."""
    seven.share()
    victim, liar = seven.sites[0], seven.sites[6]
    requests = coordinator.mask_requests(seven.attempt)
    lie = decode(MaskRequest, requests[victim])
    second = changed(
        lie.sharers[6].announcement, ShareAnnouncement, liar, recovery_commitment=bytes(32)
    )
    sharers = (*lie.sharers[:6], Sharer(second, lie.sharers[6].packet))
    seven.masked[victim] = seven.mask_one(victim, encode(MaskRequest(sharers)))
    for site in seven.sites[1:]:
        seven.masked[site] = seven.mask_one(site, requests[site])
    seven.attempt = coordinator.fix_survivors(seven.attempt, seven.sites)
    seven.confirm(seven.sites[1:])

    seven.confirm_one(victim, coordinator.confirm_request(seven.attempt))
    request = coordinator.unmask_request(seven.attempt)
    refuses(seven, victim, lambda: seven.unmask_one(victim, request), codes.BAD_SIGNATURE)


def test_too_few_sharers_are_not_masked_for() -> None:
    federation = up_to(make_federation(7), Stage.SHARED)
    victim = federation.sites[0]
    request = decode(MaskRequest, coordinator.mask_request(federation.attempt, victim))
    fewer = encode(MaskRequest(request.sharers[: federation.threshold - 1]))
    refuses(federation, victim, lambda: federation.mask_one(victim, fewer), codes.TOO_FEW_SITES)
