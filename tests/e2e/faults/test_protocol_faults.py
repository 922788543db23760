"""A coordinator and hospitals of several releases, as processes over TLS (F23)."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import toml_of
from tests.e2e.test_coordinator_commands import fedward, launch, told
from tests.masked_federation import MASKED
from tests.other_protocol import python_path
from tests.real_federation import Process, RealFederation, make_real_federation
from tests.tiny_federation import SITES, changed, essence

from fedward_common.crypto.suite import SUITE
from fedward_common.identities import SiteId
from fedward_common.job.job_file import table_of_job

ALDER, BIRCH, CEDAR = SITES
MASKED_JOB = (MASKED, "job.rounds=1", "evaluation.every=1")
OPEN_JOB = ("secure_aggregation.enabled=false", "quorum.minimum_share=0")
SECONDS = 120

Release = Callable[..., None]


@pytest.fixture
def real(tmp_path: Path) -> Iterator[RealFederation]:
    federation = make_real_federation(tmp_path)
    federation.tiny = federation.tiny.with_job(*MASKED_JOB)
    for name, job in (
        ("masked", federation.tiny.job),
        ("open", changed(federation.tiny.job, *OPEN_JOB)),
    ):
        (tmp_path / f"{name}.toml").write_text(toml_of(table_of_job(job)))
    yield federation
    assert federation.close() == []


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Release:
    """Say of which release that is which is started from now on."""
    folders = (tmp_path / f"release-{number}" for number in range(100))

    def of(newest: int, suite: str = SUITE) -> None:
        monkeypatch.setenv("PYTHONPATH", python_path(next(folders), newest, suite))

    return of


class Sites:
    """The daemons of hospitals, each of a release of its own."""

    def __init__(self, real: RealFederation, release: Release) -> None:
        self._real, self._release = real, release
        self.running: dict[str, Process] = {}

    def start(self, **releases: tuple[int, str]) -> None:
        """Start these, in place of the daemons before on the same homes."""
        for site in releases.keys() & self.running.keys():
            assert self.running[site].end() == 0
        for site, (newest, suite) in releases.items():
            self._release(newest, suite)
            self.running[site] = self._real.start_site(site)
        for site in releases:
            self.running[site].wait_for("node.connected", SECONDS)

    def refused(self, site: str, run_id: str) -> list[tuple[str, str, str]]:
        """Give what a site's audit log has of a run: what was asked, the code, and what to do."""
        entries = self._real.site_tells(site, "audit", "show", "--run", run_id)["entries"]
        return [(one["kind"], one["code"], one["advice"]) for one in entries if "code" in one]


def become_hospital(home: Path) -> None:
    """Let a home be no simulation's, so that every refusal is written down there."""
    settings = home / "site.toml"
    text = settings.read_text()
    assert "simulated = true\n" in text
    settings.write_text(text.replace("simulated = true\n", ""))


def launched(real: RealFederation, job: str, *options: str) -> dict[str, Any]:
    run: dict[str, Any] = told(real, *launch(real, *options, job=f"{job}.toml"))
    return run


def participants(real: RealFederation, run: str) -> object:
    return essence(real.coordinator_home.runs / run)["participants"]


@pytest.mark.slow
def test_neighbouring_releases_train_together_and_others_refuse_at_the_manifest(
    real: RealFederation, release: Release
) -> None:
    """Who refused a run goes on living, and is in the next one whose version it speaks."""
    real.tiny.run(real.folder / "one-release")
    become_hospital(real.tiny.homes[SiteId(ALDER)])
    release(2)
    coordinator = real.start_coordinator()
    sites = Sites(real, release)
    sites.start(alder=(1, SUITE), birch=(1, SUITE), cedar=(2, SUITE))

    release(2)
    newest = launched(real, "masked", "--name", "newest")
    failed = coordinator.wait_for("run.failed", SECONDS, run="newest")
    assert failed["code"] == "QUORUM_NOT_REACHED"
    assert f"{ALDER}: PROTOCOL_TOO_NEW, {BIRCH}: PROTOCOL_TOO_NEW" in failed["problem"]
    shown = fedward(real, "status", "newest").out
    assert f"acceptance: {ALDER}: PROTOCOL_TOO_NEW" in shown
    assert "upgrade the site" in shown
    before = launched(real, "masked", "--name", "before", "--protocol", "1")
    coordinator.wait_for("run.finished", SECONDS, run="before")
    assert participants(real, "before") == [list(SITES)]
    assert essence(real.coordinator_home.runs / "before") == essence(real.folder / "one-release")

    ((kind, code, advice),) = sites.refused(ALDER, newest["run_id"])
    assert (kind, code) == ("manifest.query", "PROTOCOL_TOO_NEW")
    assert advice.startswith("upgrade here")
    assert sites.refused(ALDER, before["run_id"]) == []

    sites.start(alder=(3, SUITE), birch=(2, "S2"))
    release(2)
    older = launched(real, "masked", "--name", "older", "--protocol", "1")
    failed = coordinator.wait_for("run.failed", SECONDS, run="older")
    assert f"{ALDER}: PROTOCOL_TOO_OLD, {BIRCH}: SECAGG_SUITE" in failed["problem"]
    launched(real, "open", "--name", "next")
    coordinator.wait_for("run.finished", SECONDS, run="next")
    assert participants(real, "next") == [[ALDER, CEDAR]]
    assert f"acceptance: {BIRCH}: SECAGG_SUITE" in fedward(real, "status", "next").out
    ((kind, code, advice),) = sites.refused(ALDER, older["run_id"])
    assert (kind, code) == ("manifest.query", "PROTOCOL_TOO_OLD")
    assert "the coordinator upgrades" in advice
    release(3)  # whose hospital still reads what it kept of a run that it would not join any more
    states = {job["run"]: job["state"] for job in real.site_tells(ALDER, "jobs")["jobs"]}
    assert states[before["run_id"]] == "tested"
    assert older["run_id"] not in states
    for process in (*sites.running.values(), coordinator):
        assert process.end() == 0
