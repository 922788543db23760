"""A coordinator and hospitals of several releases, as processes over TLS (F23)."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
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
from fedward_common.job.job_file import table_of_job

ALDER, BIRCH, CEDAR = SITES
MASKED_JOB = (MASKED, "job.rounds=1", "evaluation.every=1", "quorum.deadline_seconds=150")
OPEN_JOB = ("secure_aggregation.enabled=false", "quorum.minimum_share=0")
SECONDS = 240

Release = Callable[..., AbstractContextManager[None]]


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
    """Let processes that are started meanwhile be of another release; others are of 2."""
    folders = (tmp_path / f"release-{number}" for number in range(100))

    @contextlib.contextmanager
    def of(newest: int, suite: str = SUITE) -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setenv("PYTHONPATH", python_path(next(folders), newest, suite))
            yield

    monkeypatch.setenv("PYTHONPATH", python_path(next(folders), 2))
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
            with self._release(newest, suite):
                self.running[site] = self._real.start_site(site)
        for site in releases:
            self.running[site].wait_for("node.connected", SECONDS)

    def refused(self, site: str, run_id: str) -> list[tuple[str, str, str]]:
        """Give what a site's audit log has of a run: what was asked, the code, and what to do."""
        entries = self._real.site_tells(site, "audit", "show", "--run", run_id)["entries"]
        return [(one["kind"], one["code"], one["advice"]) for one in entries if "code" in one]


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
    real.make_hospital(ALDER)
    coordinator = real.start_coordinator()
    sites = Sites(real, release)
    sites.start(alder=(1, SUITE), birch=(1, SUITE), cedar=(2, SUITE))

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
    with release(3):  # a hospital still reads what it kept of a run that it would not join any more
        states = {job["run"]: job["state"] for job in real.site_tells(ALDER, "jobs")["jobs"]}
    assert states[before["run_id"]] == "tested"
    assert older["run_id"] not in states
    for process in (*sites.running.values(), coordinator):
        assert process.end() == 0
