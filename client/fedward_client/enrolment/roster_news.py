"""A newer roster that came between runs' messages: whoever is gone from it is gone here at once.

It is believed because the consortium's authority signed it and its version is newer, whoever
brought it. Nobody comes by it: who is new is accepted with the next run that names a roster. So one
that removes nobody is not even remembered, and keeps no run from beginning that was made before it.
"""

from fedward_client.enrolment.accepted_members import (
    members_of,
    newest_members,
    require_accepted,
)
from fedward_client.enrolment.membership_files import note_membership, own_certificate
from fedward_client.site_home import SiteHome
from fedward_client.site_policy import read_policy
from fedward_common.consortium.roster import require_not_older, verify_roster
from fedward_common.errors import UnverifiedMessageError


def take_removals(
    home: SiteHome, unverified: bytes, *, now_seconds: float
) -> tuple[int, tuple[str, ...]]:
    """Let those go whom a newer roster no longer has as they were.

    Args:
        home: Of a member.
        unverified: A roster's signed bytes.
        now_seconds: Since 1970, UTC.

    Returns:
        The roster's version, and who went.

    Raises:
        UnverifiedMessageError: It is not the authority's, is out of its time, or is older than the
            newest that was seen (`ROSTER_OLD`, `ROSTER_FORKED`).
        MalformedMessageError: It is no roster.
        ConfigurationError: The site is no member.
        CorruptFileError: A file of the home is damaged.
    """
    from fedward_client.daemon.trusted_roster import see_roster

    authority, _ = own_certificate(home, now_seconds=None)
    roster = verify_roster(unverified, authority, now_seconds=now_seconds)
    known, offered = newest_members(home), members_of(roster)
    if known is None:
        return roster.version, ()
    require_not_older(roster, version=known.version, sha256=known.sha256)
    gone = tuple(one[0] for one in known.others_than(offered))
    if gone:
        see_roster(home, roster)
        try:
            require_accepted(home, read_policy(home), roster)
        except UnverifiedMessageError as error:
            # Who is new waits for this site's word; who is gone is gone without it.
            if error.code != "ROSTER_NOT_ACCEPTED":
                raise
        note_membership(
            home, "roster seen", now_seconds=now_seconds, roster_version=roster.version,
            gone=list(gone),
        )  # fmt: skip
    return roster.version, gone
