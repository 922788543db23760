"""Bring a federation of secure aggregation to a stage, and ask one site for one step."""

from tests.secagg_federation import Federation

from fedward_client import secagg_member as member
from fedward_common.identities import SiteId
from fedward_server import secagg_coordinator as coordinator

STEPS = ("share", "mask", "confirm", "unmask")


def up_to(federation: Federation, stage: member.Stage) -> Federation:
    """Everybody goes on until they are at this stage."""
    federation.begin()
    for reached, step in (
        (member.Stage.SHARED, federation.share),
        (member.Stage.MASKED, federation.mask),
        (member.Stage.CONFIRMED, federation.confirm),
        (member.Stage.UNMASKED, federation.unmask),
    ):
        if federation.states[federation.sites[0]].stage is stage:
            break
        step()
        assert federation.states[federation.sites[0]].stage is reached
    return federation


def request_of(federation: Federation, step: str, site: SiteId) -> bytes:
    """What the coordinator asks a site for at a step."""
    if step == "share":
        return coordinator.share_request(federation.attempt)
    if step == "mask":
        return coordinator.mask_request(federation.attempt, site)
    if step == "confirm":
        return coordinator.confirm_request(federation.attempt)
    return coordinator.unmask_request(federation.attempt)


def answer_of(federation: Federation, step: str, site: SiteId, request: bytes) -> bytes:
    """What a site answers; its masked words and lane as bytes."""
    if step == "mask":
        words, lane = federation.mask_one(site, request)
        return words.tobytes() + lane.tobytes()
    one = {
        "share": federation.share_one,
        "confirm": federation.confirm_one,
        "unmask": federation.unmask_one,
    }
    return one[step](site, request)
