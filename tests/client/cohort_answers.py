"""What `fedward-site cohort ...` answers, and what it keeps."""

from typing import Any

from tests.client.cohorts.dicom_hospital import Hospital, read_json
from tests.client.conftest import Site

from fedward_client.cohorts.registered.snapshot_store import read_snapshot
from fedward_client.site_home import SiteHome


def snapshot(hospital: Hospital, name: str = "chest") -> Any:
    return read_snapshot(SiteHome(hospital.home), name)


def told(site: Site, hospital: Hospital, command: str, *more: str, code: int = 0) -> Any:
    ended = site(["cohort", command, *more, "--home", str(hospital.home), "--json"])
    assert ended.code == code, ended.err
    return read_json(ended.out)
