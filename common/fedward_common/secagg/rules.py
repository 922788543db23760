"""The rules on lists of sites, one function each; pure, and the same for both machines.

A coordinator keeps them so that its requests are not refused; a site checks them all again, since
it does not believe the coordinator. `verify_...` raises `AggregationRefusedError` with the name of
the rule as its code.
"""

import itertools
from collections.abc import Collection, Sequence
from typing import Protocol

from fedward_common.consortium.roster import Roster
from fedward_common.crypto.suite import SUITE
from fedward_common.errors import AggregationRefusedError
from fedward_common.identities import SiteId
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.binding import RoundBinding
from fedward_common.secagg.thresholds import sites_one_organisation_may_hold, threshold_of

# Nobody's vector is hidden in a sum of one.
_LEAST_SITES = 2

_CODE_OF_FIELD = {
    "roster_version": codes.ROSTER,
    "roster_sha256": codes.ROSTER,
    "weights_sha256": codes.WEIGHTS_DIFFER,
    "codec_sha256": codes.CODEC_DIFFERS,
    "suite": codes.SUITE,
}
# Between two attempts of one round only the attempt and the roster may differ.
_MAY_CHANGE = frozenset({"attempt", "roster_version", "roster_sha256"})


class RoundLimits(Protocol):
    """What a machine demands of any directory; a site's own policy may demand more than others'."""

    @property
    def roster(self) -> Roster:
        """Who is who."""

    @property
    def participants(self) -> frozenset[SiteId]:
        """The manifest's sites for this purpose."""

    @property
    def minimum_sites(self) -> int:
        """Fewest sites in a directory."""

    @property
    def minimum_organisations(self) -> int:
        """Fewest organisations in a directory, and again among sharers and survivors."""

    @property
    def max_sites(self) -> int:
        """Most sites that the codec has room for."""


def verify_binding(came: RoundBinding, own: RoundBinding, *, whose: str) -> None:
    """Compare field by field, so that the refusal names what differs."""
    for name in RoundBinding.__dataclass_fields__:
        if getattr(came, name) != getattr(own, name):
            raise AggregationRefusedError(
                f"{whose}: {name} is {getattr(came, name)!r}, here it is {getattr(own, name)!r}",
                hint="all sites of an attempt must work on one round of one run",
                code=_CODE_OF_FIELD.get(name, codes.BINDING),
            )


def verify_own_binding(binding: RoundBinding, roster: Roster) -> None:
    """Check that an attempt is under this roster and the suite that is spoken here."""
    if binding.suite != SUITE:
        raise AggregationRefusedError(
            f"suite {binding.suite[:20]!r} was asked for, {SUITE!r} is spoken here",
            hint="a suite is never negotiated; bring both sides to the same release",
            code=codes.SUITE,
        )
    if (binding.roster_version, binding.roster_sha256) != (roster.version, roster.sha256):
        raise AggregationRefusedError(
            f"the attempt is under roster {binding.roster_version}, here it is {roster.version}",
            hint="the coordinator has to send the roster it works with",
            code=codes.ROSTER,
        )
    if binding.consortium != roster.consortium:
        raise AggregationRefusedError(
            f"the attempt is of consortium {binding.consortium[:60]!r}, the roster of "
            f"{roster.consortium!r}",
            code=codes.BINDING,
        )


def verify_next_attempt(binding: RoundBinding, earlier: RoundBinding) -> None:
    """Check that a new attempt tries again what the earlier one tried, and nothing else."""
    for name in RoundBinding.__dataclass_fields__:
        if name not in _MAY_CHANGE and getattr(binding, name) != getattr(earlier, name):
            raise AggregationRefusedError(
                f"another attempt of the same round has another {name}",
                hint="the round has to be dropped; the next one may differ",
                code=_CODE_OF_FIELD.get(name, codes.BINDING),
            )
    if binding.attempt <= earlier.attempt:
        raise AggregationRefusedError(
            f"attempt {binding.attempt} comes after attempt {earlier.attempt}, a higher one needed",
            code=codes.BINDING,
        )
    if binding.roster_version < earlier.roster_version:
        raise AggregationRefusedError(
            f"roster {binding.roster_version} comes after roster {earlier.roster_version}",
            hint="a roster never gets older",
            code=codes.ROSTER,
        )


def verify_directory_sites(sites: Sequence[SiteId], limits: RoundLimits) -> None:
    """Check who stands in a directory: order, participants, numbers, organisations."""
    verify_sorted(sites, "the directory")
    for site in sites:
        if site not in limits.participants:
            raise AggregationRefusedError(
                f"{site} stands in the directory and is no participant of this run",
                code=codes.FOREIGN_KEY,
            )
    verify_number(sites, max(limits.minimum_sites, _LEAST_SITES), "the directory")
    if len(sites) > limits.max_sites:
        raise AggregationRefusedError(
            f"the directory has {len(sites)} sites, the codec has room for {limits.max_sites}",
            code=codes.TOO_MANY_SITES,
        )
    verify_organisations(sites, limits, "the directory")
    _verify_no_large_organisation(sites, limits.roster)


def verify_sharers(
    sharers: Sequence[SiteId], directory: Sequence[SiteId], limits: RoundLimits
) -> None:
    """Check who shared: within the directory, t of it at least."""
    _verify_link(sharers, directory, "the sharers", "the directory")
    verify_number(sharers, threshold_of(len(directory)), "the sharers")
    verify_organisations(sharers, limits, "the sharers")


def verify_survivors(
    survivors: Sequence[SiteId],
    dropouts: Sequence[SiteId],
    *,
    sharers: Sequence[SiteId],
    num_directory: int,
    limits: RoundLimits,
) -> None:
    """Check the two lists of the end: disjoint, together the sharers, t survivors at least.

    A site in both would have both its secrets revealed, and with them its contribution.
    """
    if both := set(survivors) & set(dropouts):
        raise AggregationRefusedError(
            f"{min(both)} is listed as survivor and as dropout",
            hint="this would reveal its contribution; nothing was signed",
            code=codes.LISTS_OVERLAP,
        )
    _verify_link(survivors, sharers, "the survivors", "the sharers")
    _verify_link(dropouts, sharers, "the dropouts", "the sharers")
    if len(survivors) + len(dropouts) != len(sharers):
        raise AggregationRefusedError(
            f"{len(survivors)} survivors and {len(dropouts)} dropouts, of {len(sharers)} sharers",
            hint="every sharer is one or the other",
            code=codes.NOT_A_CHAIN,
        )
    verify_number(survivors, threshold_of(num_directory), "the survivors")
    verify_organisations(survivors, limits, "the survivors")


def verify_sorted(sites: Sequence[str], what: str) -> None:
    """Check that a list is in the order of site names, each once."""
    if any(after <= before for before, after in itertools.pairwise(sites)):
        raise AggregationRefusedError(
            f"{what}: a site stands twice, or not in the order of names", code=codes.NOT_A_CHAIN
        )


def verify_present(site: SiteId, sites: Collection[str], what: str) -> None:
    """Check that the one who is asked is on the list itself."""
    if site not in sites:
        raise AggregationRefusedError(
            f"{what}: {site} was left out and is asked all the same", code=codes.SELF_MISSING
        )


def verify_number(sites: Collection[str], least: int, what: str) -> None:
    """Check that a list is long enough."""
    if len(sites) < least:
        raise AggregationRefusedError(
            f"{what}: {len(sites)} sites, {least} needed",
            hint="nothing was revealed; wait for more sites and try again",
            code=codes.TOO_FEW_SITES,
        )


def verify_organisations(sites: Collection[SiteId], limits: RoundLimits, what: str) -> None:
    """Check that enough organisations stand behind a list."""
    organisations = {limits.roster.entry_of(site).organisation for site in sites}
    if len(organisations) < limits.minimum_organisations:
        raise AggregationRefusedError(
            f"{what}: {len(organisations)} organisations, {limits.minimum_organisations} needed",
            hint="sites of one organisation count as one",
            code=codes.TOO_FEW_ORGANISATIONS,
        )


def _verify_no_large_organisation(sites: Sequence[SiteId], roster: Roster) -> None:
    most = sites_one_organisation_may_hold(len(sites))
    held: dict[str, int] = {}
    for site in sites:
        organisation = roster.entry_of(site).organisation
        held[organisation] = held.get(organisation, 0) + 1
        if held[organisation] > most:
            raise AggregationRefusedError(
                f"one organisation holds {held[organisation]} or more of {len(sites)} sites, "
                f"at most {most} may be one organisation's",
                hint="a third of the sites together could break the secrecy of a sum",
                code=codes.ORGANISATION_TOO_LARGE,
            )


def _verify_link(inner: Sequence[SiteId], outer: Sequence[SiteId], what: str, of_what: str) -> None:
    """Check one link of the chain: sorted, and within the list before."""
    verify_sorted(inner, what)
    if strangers := set(inner) - set(outer):
        raise AggregationRefusedError(
            f"{what}: {min(strangers)[:48]} is not in {of_what}", code=codes.NOT_A_CHAIN
        )
