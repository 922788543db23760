"""Homes of a simulation: certified, and with an organisation each."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.tiny_federation import SITES, TinyFederation, make_federation

from fedward_client.site_home import SiteHome
from fedward_common.consortium.certificates import read_authority, verify_certificate
from fedward_common.consortium.roster import Roster, verify_roster
from fedward_server.simulation.homes import Homes, make_homes
from fedward_server.simulation.site_side import site_side

NOW = 1_800_000_000


def homes_of(tiny: TinyFederation, folder: Path, **changes: Any) -> Homes:
    cohorts = changes.pop("cohorts", tiny.cohorts)
    return make_homes(
        site_side(), folder / "sites", cohorts, tiny.data, key_file=folder / "keys" / "c.key",
        utc_seconds=lambda: float(NOW), **changes,
    )  # fmt: skip


def roster_in(homes: Homes) -> Roster:
    home = SiteHome(next(iter(homes.sites.values())))
    authority = read_authority(home.authority_file.read_bytes())
    return verify_roster(homes.roster, authority, now_seconds=NOW)


def test_each_home_pins_the_authority_and_has_its_own_certificate(
    tiny: TinyFederation, tmp_path: Path
) -> None:
    homes = homes_of(tiny, tmp_path)
    assert tuple(homes.sites) == SITES
    for site, folder in homes.sites.items():
        home = SiteHome(folder)
        authority = read_authority(home.authority_file.read_bytes())
        own = verify_certificate(home.certificate_file.read_bytes(), authority, now_seconds=NOW)
        assert (own.site, own.organisation, own.role) == (site, site, "site")
        assert own.key.raw == roster_in(homes).entry_of(site).key.raw


def test_making_the_homes_again_changes_nothing(tiny: TinyFederation, tmp_path: Path) -> None:
    first = homes_of(tiny, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert homes_of(tiny, tmp_path) == first
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_sites_share_an_organisation_where_the_cohorts_file_says_so(
    tiny: TinyFederation, tmp_path: Path
) -> None:
    tables = {site: dict(table) for site, table in tiny.cohorts["sites"].items()}
    for site in ("alder", "cedar"):
        tables[site]["organisation"] = "Harbour Trust"
    roster = roster_in(homes_of(tiny, tmp_path, cohorts={"sites": tables}))
    found = {entry.site: entry.organisation for entry in roster.entries if entry.role == "site"}
    assert found == {"alder": "Harbour Trust", "birch": "birch", "cedar": "Harbour Trust"}


@pytest.mark.parametrize(
    ("how", "names"),
    [({"pooled": True}, ("pooled",)), ({"partition": (2, 1.0)}, ("part-1", "part-2"))],
)
def test_pooled_and_partitioned_sites_are_organisations_of_their_own(
    tiny: TinyFederation, tmp_path: Path, how: dict[str, Any], names: tuple[str, ...]
) -> None:
    roster = roster_in(homes_of(tiny, tmp_path, **how))
    assert roster.sites == names
    assert [roster.entry_of(name).organisation for name in names] == list(names)


def test_the_pooled_site_leaves_the_roster_of_the_others_alone(
    tiny: TinyFederation, tmp_path: Path
) -> None:
    first = homes_of(tiny, tmp_path)
    homes_of(tiny, tmp_path, pooled=True)
    assert homes_of(tiny, tmp_path).roster == first.roster


def test_a_federation_of_two_houses_runs(tmp_path: Path) -> None:
    federation = make_federation(tmp_path / "f", settings={"organisation": "One House"})
    history = federation.run(tmp_path / "run")
    assert history.finished
    seen = SiteHome(federation.homes[next(iter(federation.homes))]).consortium
    assert json.loads((seen / "newest-roster.json").read_text())["version"] == 1
