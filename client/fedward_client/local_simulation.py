"""What a simulation does on the sites' side of its one machine: make homes, read their own records.

In a real federation none of this crosses a network: the homes are on other machines, and no message
can ask for them. A simulator calls these functions by name.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fedward_client.cohorts.cohort_file import (
    SourceSettings,
    organisations_of,
    read_cohort_tables,
    write_cohort_file,
)
from fedward_client.cohorts.partition import PartitionSection
from fedward_client.daemon.privacy_plan import has_plan, read_plan
from fedward_client.enrolment.accepted_members import accept_members
from fedward_client.ledger.charges import count_of
from fedward_client.ledger.site_ledger import open_ledger
from fedward_client.ledger.utc_clock import SystemUtcClock
from fedward_client.site_home import SiteHome, create_site_home, write_private_file
from fedward_common.atomic_files import write_atomically
from fedward_common.consortium.roster import Roster, RosterEntry
from fedward_common.crypto.signing import SigningKey, VerifyingKey
from fedward_common.identities import SiteId

COHORT = "main"
POOLED_SITE = "pooled"

# Nobody is protected by a simulation, so its hospitals take every job; what it costs is recorded.
_POLICY = """[jobs]
approval = "within-policy"
max_rounds = 100000

[privacy]
epsilon_per_job = 1000.0
epsilon_total = 1000.0
delta_total = 1e-3
unbounded_training = true
joint = true

[secure_aggregation]
required = false
minimum_organisations = 1
minimum_share = 0.0

[consortium]
accept_roster = "ca"
"""


def check_cohorts(cohorts_table: object, data_root: Path) -> None:
    """Check a cohorts file before anything is written.

    Raises:
        ConfigurationError: It cannot be used; the key is named.
    """
    read_cohort_tables(cohorts_table, data_root)
    organisations_of(cohorts_table)


def make_site_homes(
    folder: Path,
    cohorts_table: object,
    data_root: Path,
    *,
    coordinator_key: bytes,
    consortium: str,
    split_key: bytes,
    pooled: bool = False,
    partition: tuple[int, float] | None = None,
) -> tuple[RosterEntry, ...]:
    """Make one home a site of a cohorts file; keys that are there stay.

    A home takes part in nothing until `join_consortium` gave it its certificate.

    Args:
        folder: Holds the homes.
        cohorts_table: The parsed cohorts file.
        data_root: The folder its paths are relative to.
        coordinator_key: Public key that the sites trust.
        consortium: Its name.
        split_key: 32 bytes.
        pooled: Make one site that holds all sites' data instead, each patient still its hospital's.
        partition: Forget the file's sites and cut all patients into so many, with this alpha.

    Returns:
        Each site with its public key and its organisation, which is a site's own name unless the
        cohorts file says another.

    Raises:
        ConfigurationError: The cohorts file cannot be used; the key is named.
    """
    sources = read_cohort_tables(cohorts_table, data_root)
    if pooled or partition is not None:
        named = [replace(t, patient_namespace=s) for s, tables in sources.items() for t in tables]
        sources = {SiteId(POOLED_SITE): tuple(named)}
        if partition is not None and not pooled:
            sources = _parts_of(named, *partition)
    organisations = organisations_of(cohorts_table)
    return tuple(
        RosterEntry(
            site,
            organisations.get(site, site),
            "site",
            _make_home(folder / site, site, tables, coordinator_key, consortium, split_key),
        )
        for site, tables in sources.items()
    )


def join_consortium(
    home_folder: Path, *, authority: bytes, certificate: bytes, roster: Roster
) -> None:
    """Let a home trust a consortium's authority, and give it the certificate of its own key.

    Args:
        home_folder: That `make_site_homes` made.
        authority: The authority's certificate, DER.
        certificate: The site's, DER.
        roster: The members that this site takes part with.
    """
    home = SiteHome(home_folder)
    write_atomically(home.authority_file, authority)
    write_atomically(home.certificate_file, certificate)
    accept_members(home, roster)


def _parts_of(
    sources: list[SourceSettings], num_sites: int, alpha: float
) -> dict[SiteId, tuple[SourceSettings, ...]]:
    width = len(str(num_sites))
    return {
        SiteId(f"part-{site + 1:0{width}d}"): tuple(
            replace(source, partition=PartitionSection(site, num_sites, alpha))
            for source in sources
        )
        for site in range(num_sites)
    }


def _make_home(
    folder: Path,
    site: str,
    sources: tuple[SourceSettings, ...],
    coordinator_key: bytes,
    consortium: str,
    split_key: bytes,
) -> VerifyingKey:
    home = create_site_home(folder, split_key=split_key)
    key_file = home.trust / "site.key"
    if not key_file.exists():
        write_private_file(key_file, SigningKey.generate().to_raw().hex().encode())
    key = SigningKey.from_raw(bytes.fromhex(key_file.read_text()))
    write_atomically(home.trust / "coordinator.pub", coordinator_key.hex().encode())
    settings = {"site": site, "consortium": consortium, "cohort": COHORT, "simulated": True}
    text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
    write_atomically(home.policy_file, _POLICY.encode())
    write_atomically(home.settings_file, text.encode())
    write_cohort_file(home.cohorts / f"{COHORT}.toml", sources)
    return key.verifying_key


def cohort_summary(home_folder: Path) -> dict[str, Any] | None:
    """Give the site's own report of its cohort, or None where it was never prepared."""
    path = SiteHome(home_folder).reports / f"cohort-{COHORT}.json"
    return json.loads(path.read_text()) if path.exists() else None


def seconds_of_run(home_folder: Path, run: str) -> dict[str, float]:
    """Add up what the site wrote down of its work; a round done twice counts twice."""
    path = SiteHome(home_folder).run_folder(run) / "activity.jsonl"
    seconds = {"training": 0.0, "evaluation": 0.0}
    if not path.exists():
        return seconds
    for entry in _whole_entries(path.read_text(encoding="utf-8")):
        for name in seconds:
            seconds[name] += entry.get(f"{name}_seconds", 0.0)
    return seconds


def _whole_entries(text: str) -> Iterator[Mapping[str, Any]]:
    """Give all entries but those cut short by a kill; the next one stands in the same line."""
    for start in text.split("{")[1:]:  # an entry has numbers alone, so each brace begins one
        with contextlib.suppress(ValueError):
            yield json.loads("{" + start)


def privacy_of_run(home_folder: Path, run: str) -> dict[str, Any] | None:
    """Give what a run cost one unit of a site, by the rounds that its ledger has as begun."""
    from fedward_common.privacy.accountant import PLD

    home = SiteHome(home_folder)
    if not has_plan(home.run_folder(run)):
        return None
    plan = read_plan(home.run_folder(run))
    if not plan.is_private or plan.delta is None:
        return None
    with open_ledger(home, SystemUtcClock(), wait=True) as ledger:
        account = ledger.accounts.run(run)
    spent = account.spent
    return {
        "epsilon": PLD.epsilon_of(spent, plan.delta),
        "delta": plan.delta,
        "unit": plan.unit,
        "noise_multiplier": plan.noise_multiplier,
        "sampling_rate": plan.sampling_rate,
        "steps": sum(count_of(one) for one in spent),
        "epsilon_reserved": plan.epsilon,
        "noise_drawn_on": account.noise_drawn_on,
    }


def sums_on_test_split(home_folder: Path, run: str) -> "np.ndarray[Any, np.dtype[np.int64]] | None":
    """Give the site's own sums over its test patients, or None where it was not asked."""
    path = SiteHome(home_folder).run_folder(run) / "test-sums.npy"
    return np.load(path, allow_pickle=False) if path.exists() else None
