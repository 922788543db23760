"""The homes of a simulation's sites, as members of its throwaway consortium."""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fedward_common.consortium.certificates import read_authority
from fedward_common.consortium.roster import verify_roster
from fedward_common.identities import SiteId
from fedward_server.simulation.site_side import SiteSide
from fedward_server.simulation.throwaway_consortium import CONSORTIUM, enrol, private_key

ROSTER = "roster.cbor"
POOLED_ROSTER = "roster-pooled.cbor"


@dataclass(frozen=True)
class Homes:
    """Where each site's home is, and the signed roster that they stand in."""

    sites: Mapping[SiteId, Path]
    roster: bytes


def make_homes(
    side: SiteSide,
    folder: Path,
    cohorts_table: object,
    data_root: Path,
    *,
    key_file: Path,
    pooled: bool = False,
    partition: tuple[int, float] | None = None,
    utc_seconds: Callable[[], float] = time.time,
) -> Homes:
    """Make one home a site and let each join; keys, certificates and roster that are there stay.

    Args:
        side: The sites' half of the simulation.
        folder: Holds the homes.
        cohorts_table: The parsed cohorts file.
        data_root: The folder its paths are relative to.
        key_file: The coordinator's key, made if missing; the consortium lies beside it.
        pooled: Make one site of all, which stands in a roster of its own.
        partition: Cut all patients into so many sites with this alpha.
        utc_seconds: Gives seconds since 1970.

    Raises:
        ConfigurationError: The cohorts file cannot be used, or the consortium's files are damaged.
    """
    applicants = side.make_site_homes(
        folder,
        cohorts_table,
        data_root,
        coordinator_key=private_key(key_file).verifying_key.raw,
        consortium=CONSORTIUM,
        split_key=split_key_of_simulations(),
        pooled=pooled,
        partition=partition,
    )
    name = POOLED_ROSTER if pooled else ROSTER
    now_seconds = utc_seconds()
    enrolled = enrol(key_file, name, applicants, now_seconds=now_seconds)
    authority = read_authority(enrolled.authority_der)
    roster = verify_roster(enrolled.roster, authority, now_seconds=now_seconds)
    sites = {applicant.site: folder / applicant.site for applicant in applicants}
    for site, home in sites.items():
        side.join_consortium(
            home,
            authority=enrolled.authority_der,
            certificate=enrolled.certificates[site],
            roster=roster,
        )
    return Homes(sites, enrolled.roster)


def split_key_of_simulations() -> bytes:
    """Give the patient-split key that all simulations share, so every seed has the same test set.

    It protects nothing: a hospital's own key is random and secret.
    """
    return hashlib.sha256(b"fedward simulation split key v1").digest()
