"""DICOM hospitals in a simulation: the very run that arrays give."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.client.cohorts.registered_cohorts import PoolInProcess, home_in, register, write_image
from tests.tiny_federation import (
    SITES,
    TinyFederation,
    essence,
    pictures_of,
    tiny_job,
    write_site,
)

from fedward_client.cohorts.registered.pinned_snapshots import (
    offered_sources,
    with_newest_snapshots,
)
from fedward_client.cohorts.views.job_view import prepare_job_view
from fedward_client.site_home import SiteHome
from fedward_common.errors import ConfigurationError
from fedward_server.simulation.homes import Homes, make_homes, split_key_of_simulations
from fedward_server.simulation.site_side import site_side

JOB = tiny_job()


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedward_client.dicom.decode_pool.DecodePool", PoolInProcess)


def write_hospital(data: Path, site: str) -> dict[str, Any]:
    """Write a hospital's images as DICOM and register them; give its table."""
    rows = []
    for number, picture in enumerate(pictures_of(site)):
        locator = write_image(
            data / site / "dicom", number, picture.image, PatientID=picture.row["patient"]
        )
        rows.append({"file": locator, **picture.row})
    register(home_in(data / site / "home"), data / site / "dicom", rows, task=JOB.task)
    return {"source": "registered", "path": f"{site}/home", "cohort": "chest"}


def homes_of(folder: Path, cohorts: Mapping[str, Any], data: Path, **others: Any) -> Homes:
    key_file = folder.parent / "keys" / "coordinator.key"
    return make_homes(site_side(), folder, cohorts, data, key_file=key_file, **others)


def federation_of(folder: Path, *, dicom: bool) -> TinyFederation:
    data = folder / "data"
    data.mkdir(parents=True)
    tables = {
        site: write_hospital(data, site) if dicom else write_site(data, site, pictures_of(site))
        for site in SITES
    }
    homes = homes_of(folder / "sites", {"sites": tables}, data)
    return TinyFederation(
        data,
        {"sites": tables},
        homes.sites,
        homes.roster,
        folder / "keys" / "coordinator.key",
        JOB,
    )


def test_dicom_hospitals_give_bit_for_bit_the_run_that_arrays_give(tmp_path: Path) -> None:
    found = []
    for dicom in (False, True):
        federation = federation_of(tmp_path / str(dicom), dicom=dicom)
        federation.run(tmp_path / str(dicom) / "run")
        found.append(essence(tmp_path / str(dicom) / "run"))
    assert found[0]["weights"] == found[1]["weights"]
    assert found[0]["final"] == found[1]["final"]
    assert found[0]["evaluations"] == found[1]["evaluations"]


@pytest.mark.parametrize("how", [{"pooled": True}, {"partition": (2, 1000.0)}])
def test_pooled_and_partitioned_hospitals_hold_what_arrays_would(
    tmp_path: Path, how: dict[str, Any]
) -> None:
    views: list[list[bytes]] = []
    for dicom in (False, True):
        folder = tmp_path / str(dicom)
        federation = federation_of(folder, dicom=dicom)
        homes = homes_of(folder / "others", federation.cohorts, federation.data, **how)
        views.append([])
        for home in map(SiteHome, homes.sites.values()):
            sources = with_newest_snapshots(offered_sources(home, "main"))
            view = prepare_job_view(
                home.cache, sources, JOB.task, JOB.data, split_key_of_simulations()
            )
            views[-1] += [view.images.tobytes(), view.patients.tobytes(), view.splits.tobytes()]
    assert views[0] == views[1]


def test_a_home_outside_the_data_root_is_refused(tmp_path: Path) -> None:
    table = {"source": "registered", "path": "../elsewhere", "cohort": "chest"}
    with pytest.raises(ConfigurationError, match="data root"):
        homes_of(tmp_path / "sites", {"sites": {"north": table}}, tmp_path)
