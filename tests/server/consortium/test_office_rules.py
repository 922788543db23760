"""What the office decides: who is invited, admitted, renewed and removed, and who is not."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.common.consortium.consortium_office import (
    AUTHORITY,
    DAY,
    NOW,
    counted_entropy,
    key_of,
)
from tests.server.consortium.office_cases import (
    KEY,
    admitted_to,
    founded,
    harbour,
    invited,
    join_request,
    renewal_request,
)

from fedward_common.consortium.certificates import SiteCertificate, verify_certificate
from fedward_common.consortium.enrolment_request import JoinRequest
from fedward_common.consortium.invitation import Invitation
from fedward_common.consortium.roster import (
    Roster,
    as_left_by,
    verify_roster,
)
from fedward_common.errors import ConfigurationError, FedwardError
from fedward_server.consortium.issuing import lapsed_members
from fedward_server.consortium.office_events import Admitted, Revoked, Withdrawn
from fedward_server.consortium.office_rules import (
    admissible,
    admit,
    answer_for,
    issue_roster,
    renew,
    revoke,
)
from fedward_server.consortium.office_state import OfficeState, apply

WITH_TWO = harbour()


def roster_of(state: OfficeState, now: float = NOW) -> Roster:
    return verify_roster(state.roster, AUTHORITY, now_seconds=now)


def certificate_in(state: OfficeState, site: str, now: float = NOW) -> SiteCertificate:
    return verify_certificate(state.members[site].certificate, AUTHORITY, now_seconds=now)


def admission(
    state: OfficeState, request: JoinRequest, now: float = NOW, site: str = ""
) -> Admitted | None:
    return admit(
        state, KEY, request, site=site or request.site, now_seconds=now, entropy=counted_entropy
    )


def code_of(work: Callable[[], Any]) -> str:
    with pytest.raises(FedwardError) as caught:
        work()
    assert caught.value.hint
    return caught.value.code


# -- admission -------------------------------------------------------------------------------------


def test_each_admission_is_the_next_version_of_the_roster() -> None:
    assert (WITH_TWO.roster_version, roster_of(WITH_TWO).version) == (3, 3)
    assert roster_of(WITH_TWO).sites == ("alder", "birch")
    assert roster_of(WITH_TWO).entry_of("alder").key.raw == key_of("alder").verifying_key.raw
    assert roster_of(WITH_TWO).max_age_seconds == 30 * DAY


def test_a_certificate_counts_for_ninety_days() -> None:
    certificate = certificate_in(WITH_TWO, "alder")
    assert certificate.not_after_seconds == NOW + 90 * DAY
    assert certificate.not_before_seconds == NOW - 600


def test_a_site_cannot_be_admitted_before_the_coordinator() -> None:
    state, invitation = invited(founded(), "alder")
    assert code_of(lambda: admission(state, join_request(invitation))) == "ROSTER_NO_COORDINATOR"


def test_a_request_that_was_granted_is_granted_again_without_anything_happening() -> None:
    state, invitation = invited(WITH_TWO, "cedar")
    event = admission(state, join_request(invitation))
    assert event is not None
    state = apply(state, event)
    assert admission(state, join_request(invitation), now=NOW + 30 * DAY) is None
    assert answer_for(state, "cedar") == answer_for(state, "cedar")


def test_a_token_is_used_once() -> None:
    state, invitation = invited(WITH_TWO, "cedar")
    event = admission(state, join_request(invitation))
    assert event is not None
    again = join_request(invitation, key_of("thief"))
    assert code_of(lambda: admission(apply(state, event), again)) == "INVITATION_USED"


def test_a_used_token_does_not_bring_a_removed_site_back() -> None:
    state, invitation = invited(WITH_TWO, "cedar")
    event = admission(state, join_request(invitation))
    assert event is not None
    state = apply(state, event)
    state = apply(state, revoke(state, KEY, "cedar", now_seconds=NOW))
    assert code_of(lambda: admission(state, join_request(invitation))) == "INVITATION_USED"


def test_a_token_expires() -> None:
    state, invitation = invited(WITH_TWO, "cedar")
    request = join_request(invitation)
    assert admission(state, request, now=NOW + 7 * DAY) is not None
    late = code_of(lambda: admission(state, request, now=NOW + 7 * DAY + 1))
    assert late == "INVITATION_EXPIRED"


def test_a_second_invitation_of_a_site_ends_the_first() -> None:
    state, first = invited(WITH_TWO, "cedar")
    state, second = invited(state, "cedar")
    assert code_of(lambda: admission(state, join_request(first))) == "INVITATION_WITHDRAWN"
    assert admission(state, join_request(second)) is not None


def other(invitation: Invitation, **changes: Any) -> Invitation:
    import dataclasses

    return dataclasses.replace(invitation, **changes)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"site": "dogwood"}, "INVITATION_OTHER"),
        ({"organisation": "another house"}, "INVITATION_OTHER"),
        ({"site": "coordinator", "role": "coordinator"}, "INVITATION_OTHER"),
        ({"key": key_of("own")}, "INVITATION_UNKNOWN"),
        ({"consortium": "other"}, "REQUEST_OTHER_CONSORTIUM"),
        ({"authority_sha256": bytes(32)}, "REQUEST_OTHER_CONSORTIUM"),
    ],
)
def test_a_request_that_stretches_its_invitation_is_refused(
    changes: dict[str, Any], code: str
) -> None:
    state, invitation = invited(WITH_TWO, "cedar")
    request = join_request(other(invitation, **changes))
    assert code_of(lambda: admission(state, request)) == code


def test_a_request_of_another_site_than_the_person_means_is_refused() -> None:
    state, invitation = invited(WITH_TWO, "cedar")
    request = join_request(invitation)
    assert code_of(lambda: admission(state, request, site="birch")) == "REQUEST_OTHER_SITE"


def test_a_key_that_another_member_has_is_not_certified() -> None:
    state, invitation = invited(WITH_TWO, "cedar")
    request = join_request(invitation, key_of("alder"))
    assert code_of(lambda: admission(state, request)) == "REQUEST_KEY_TAKEN"


def test_a_member_that_lost_its_key_is_invited_anew_and_stands_with_the_new_one() -> None:
    state = admitted_to(WITH_TWO, "alder", key=key_of("new alder"))
    assert roster_of(state).entry_of("alder").key.raw == key_of("new alder").verifying_key.raw
    assert as_left_by(roster_of(WITH_TWO), roster_of(state)).removed == {"alder"}


def test_another_coordinator_takes_the_place_of_the_first() -> None:
    state = admitted_to(WITH_TWO, "coordinator", key=key_of("second"))
    entry = roster_of(state).entry_of("coordinator")
    assert entry.key.raw == key_of("second").verifying_key.raw


@pytest.mark.parametrize(
    ("site", "changes"),
    [
        ("ALDER", {}),
        ("a b", {}),
        ("coordinator", {"role": "site"}),
        ("cedar", {"role": "coordinator"}),
        ("cedar", {"organisation": "Alder Hospital"}),
        ("cedar", {"organisation": " x"}),
        ("alder", {"organisation": "another house"}),
        ("cedar", {"address": "http://plain.example"}),
    ],
)
def test_who_would_spoil_the_roster_is_not_invited(site: str, changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        invited(WITH_TWO, site, **changes)


def test_two_sites_of_one_organisation_may_be_invited() -> None:
    state = admitted_to(WITH_TWO, "cedar", organisation="alder hospital")
    assert roster_of(state).sites == ("alder", "birch", "cedar")


# -- renewal ---------------------------------------------------------------------------------------


def renewed(state: OfficeState, site: str, now: float) -> OfficeState:
    request = renewal_request(state, site)
    event = renew(state, KEY, request, now_seconds=now, entropy=counted_entropy)
    if event is None:
        raise AssertionError
    return apply(state, event)


def test_a_renewal_changes_the_certificate_and_not_the_roster() -> None:
    later = NOW + 60 * DAY
    state = renewed(WITH_TWO, "alder", later)
    assert certificate_in(state, "alder", later).not_after_seconds == later + 90 * DAY
    assert certificate_in(state, "alder", later).key.raw == key_of("alder").verifying_key.raw
    assert (state.roster, state.roster_version) == (WITH_TWO.roster, WITH_TWO.roster_version)


def test_a_roster_issued_after_renewals_adds_and_changes_nobody() -> None:
    later = NOW + 20 * DAY
    state = renewed(WITH_TWO, "alder", later)
    event = issue_roster(state, KEY, above=0, now_seconds=later)
    before = roster_of(WITH_TWO, later)
    assert as_left_by(before, roster_of(apply(state, event), later)) == before
    assert event.roster_version == 4


def test_the_same_renewal_request_twice_gives_one_certificate() -> None:
    request = renewal_request(WITH_TWO, "alder")
    state = renewed(WITH_TWO, "alder", NOW + DAY)
    assert renew(state, KEY, request, now_seconds=NOW + DAY, entropy=counted_entropy) is None


def test_an_old_renewal_request_is_known_as_old() -> None:
    old = renewal_request(WITH_TWO, "alder")
    state = renewed(renewed(WITH_TWO, "alder", NOW + DAY), "alder", NOW + 2 * DAY)
    again = code_of(
        lambda: renew(state, KEY, old, now_seconds=NOW + 3 * DAY, entropy=counted_entropy)
    )
    assert again == "REPLAY"


def test_a_renewal_by_another_key_or_by_a_stranger_is_refused() -> None:
    stolen = renewal_request(WITH_TWO, "alder", key_of("thief"))
    removed = apply(WITH_TWO, revoke(WITH_TWO, KEY, "alder", now_seconds=NOW))
    own = renewal_request(WITH_TWO, "alder")

    def ask(state: OfficeState, request: Any) -> object:
        return renew(state, KEY, request, now_seconds=NOW, entropy=counted_entropy)

    assert code_of(lambda: ask(WITH_TWO, stolen)) == "REQUEST_OTHER_KEY"
    assert code_of(lambda: ask(removed, own)) == "NOT_A_MEMBER"


def test_a_member_whose_certificate_lapsed_is_left_out_until_it_renews() -> None:
    later = NOW + 91 * DAY
    state = renewed(renewed(WITH_TWO, "coordinator", NOW + 60 * DAY), "alder", NOW + 60 * DAY)
    assert lapsed_members(state, now_seconds=later) == ("birch",)
    state = apply(state, issue_roster(state, KEY, above=0, now_seconds=later))
    assert roster_of(state, later).sites == ("alder",)
    state = renewed(state, "birch", later)
    state = apply(state, issue_roster(state, KEY, above=0, now_seconds=later))
    assert roster_of(state, later).sites == ("alder", "birch")


# -- removal ---------------------------------------------------------------------------------------


def test_a_removal_is_a_roster_without_the_site_at_once() -> None:
    event = revoke(WITH_TWO, KEY, "alder", now_seconds=NOW)
    assert isinstance(event, Revoked)
    state = apply(WITH_TWO, event)
    assert (roster_of(state).version, roster_of(state).sites) == (4, ("birch",))
    assert as_left_by(roster_of(WITH_TWO), roster_of(state)).sites == ("birch",)


def test_a_late_member_does_not_hold_up_the_removal_of_another() -> None:
    later = NOW + 91 * DAY
    state = renewed(WITH_TWO, "coordinator", NOW + 60 * DAY)
    event = revoke(state, KEY, "alder", now_seconds=later)
    assert roster_of(apply(state, event), later).sites == ()


def test_a_removal_ends_an_open_invitation_too() -> None:
    state, invitation = invited(WITH_TWO, "alder")
    state = apply(state, revoke(state, KEY, "alder", now_seconds=NOW))
    assert code_of(lambda: admission(state, join_request(invitation))) == "INVITATION_WITHDRAWN"


def test_an_invitation_is_withdrawn_without_the_authoritys_key() -> None:
    state, invitation = invited(WITH_TWO, "cedar")
    event = revoke(state, None, "cedar", now_seconds=NOW)
    assert isinstance(event, Withdrawn)
    state = apply(state, event)
    assert state.roster == WITH_TWO.roster
    assert code_of(lambda: admission(state, join_request(invitation))) == "INVITATION_WITHDRAWN"


@pytest.mark.parametrize("site", ["cedar", "coordinator", "", "Alder"])
def test_who_is_nobody_or_the_coordinator_is_not_removed(site: str) -> None:
    with pytest.raises(ConfigurationError):
        revoke(WITH_TWO, KEY, site, now_seconds=NOW)


def test_a_version_that_somebody_saw_is_passed_over() -> None:
    assert issue_roster(WITH_TWO, KEY, above=41, now_seconds=NOW).roster_version == 42
    assert issue_roster(WITH_TWO, KEY, above=1, now_seconds=NOW).roster_version == 4


def test_a_request_that_came_online_in_time_may_be_decided_on_later() -> None:
    from tests.server.consortium.office_cases import join_bytes

    from fedward_server.consortium.enrolment_desk import answer_enrolment

    state, invitation = invited(WITH_TWO, "cedar")
    state = answer_enrolment(state, join_bytes(invitation), now_seconds=NOW).state
    late = NOW + 8 * DAY
    assert admissible(state, join_request(invitation), site="cedar", now_seconds=late).is_open
    thief = join_request(invitation, key_of("thief"))
    refused = code_of(lambda: admissible(state, thief, site="cedar", now_seconds=late))
    assert refused == "INVITATION_EXPIRED"
