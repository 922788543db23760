"""Sites and a coordinator of neighbouring releases finish a run together, others refuse it (F23).

There is one version so far. Here each side is told that its newest is another; what a version means
does not change with that, so every run must come to the same weights.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message
from tests.masked_federation import MASKED
from tests.tiny_federation import SITES, TinyFederation, essence, history_of, make_federation

from fedward_client.jobs.job_store import all_jobs
from fedward_client.jobs.own_result import own_result
from fedward_client.jobs.result_proof import verify_told_results
from fedward_client.site_home import SiteHome
from fedward_common.errors import MalformedMessageError, QuorumError
from fedward_common.wire import protocol_versions
from fedward_common.wire.flower_records import envelope_of
from fedward_common.wire.header import decode_header
from fedward_server.coordinator.commands.audit_command import verify_run
from fedward_server.coordinator.commands.run_view import view_of
from fedward_server.coordinator.coordinator_home import CoordinatorHome
from fedward_server.simulation.in_process_grid import CLIENT_APP, InTurnGrid

Speak = Callable[[int], None]


@pytest.fixture
def speak(monkeypatch: pytest.MonkeyPatch) -> Speak:
    """Tell whoever works now what its newest version is."""
    return lambda newest: monkeypatch.setattr(protocol_versions, "PROTOCOL_VERSION", newest)


class TwoReleases(InTurnGrid):
    """Every site has one release, the coordinator another; keeps the versions of what was said."""

    def __init__(
        self, federation: TinyFederation, speak: Speak, *, coordinator: int, site: int
    ) -> None:
        super().__init__(federation.node_configs(), CLIENT_APP)
        self._speak, self._newest = speak, {"coordinator": coordinator, "site": site}
        self.asked: set[int] = set()
        self.answered: set[int] = set()

    def _answer(self, message: Message) -> Message:
        self._note(message, self.asked)
        self._speak(self._newest["site"])
        try:
            reply = super()._answer(message)
        finally:
            self._speak(self._newest["coordinator"])
        self._note(reply, self.answered)
        return reply

    def _note(self, message: Message, versions: set[int]) -> None:
        header_bytes = envelope_of(message.content)[0].header_bytes
        versions.add(decode_header(header_bytes, any_protocol=True).protocol)


def run_of(
    folder: Path, speak: Speak, *, laid_down: int, coordinator: int, site: int
) -> tuple[dict[str, Any], TwoReleases]:
    """Run four masked rounds; what is laid down by one release may be run by the next."""
    federation = make_federation(folder / "federation").with_job(MASKED)
    speak(laid_down)
    federation.set_up(folder / "run")
    speak(coordinator)
    grid = TwoReleases(federation, speak, coordinator=coordinator, site=site)
    federation.run(folder / "run", grid=grid)
    return essence(folder / "run"), grid


@pytest.mark.parametrize(
    ("laid_down", "coordinator", "site"),
    [(1, 2, 1), (1, 1, 2), (2, 2, 2), (2, 3, 2), (2, 2, 3)],
)
def test_neighbouring_releases_come_to_the_same_weights(
    tmp_path: Path, speak: Speak, laid_down: int, coordinator: int, site: int
) -> None:
    """A run is of the version that its manifest says, in every question and every answer."""
    alone, _ = run_of(tmp_path / "alone", speak, laid_down=1, coordinator=1, site=1)
    together, grid = run_of(
        tmp_path / "together", speak, laid_down=laid_down, coordinator=coordinator, site=site
    )
    assert together == alone
    assert together["finished"]
    assert grid.asked == grid.answered == {laid_down}


@pytest.mark.parametrize("version", [1, 2])
def test_what_a_run_of_any_version_told_its_sites_is_verified_on_both_sides(
    tmp_path: Path, speak: Speak, version: int
) -> None:
    federation = make_federation(tmp_path / "federation").with_job("job.rounds=2")
    home = CoordinatorHome(federation.key_file.parent)
    home.make_folders()
    speak(version)
    federation.set_up(home.runs / "run")
    speak(2)
    grid = TwoReleases(federation, speak, coordinator=2, site=2)
    federation.run(home.runs / "run", grid=grid)
    assert grid.answered == {version}
    for newest in (2, 9):  # a record outlives the releases that speak its version
        speak(newest)
        assert sorted(verify_run(home, view_of(home, "run")).receipts) == list(SITES)
        for site in federation.homes.values():
            assert verify_told_results(SiteHome(site)) == 1
            (job,) = all_jobs(SiteHome(site))
            told = own_result(SiteHome(site), job).told
            assert (job.state, job.manifest.protocol, told is None) == ("tested", version, False)


def test_an_open_run_of_a_version_that_is_not_spoken_any_more_is_shown_and_not_gone_on_with(
    tmp_path: Path, speak: Speak
) -> None:
    federation = make_federation(tmp_path / "federation")
    home = CoordinatorHome(federation.key_file.parent)
    home.make_folders()
    federation.set_up(home.runs / "run")
    speak(3)
    assert view_of(home, "run").manifest.protocol == 1
    with pytest.raises(MalformedMessageError) as caught:
        federation.run(home.runs / "run")
    assert caught.value.code == "PROTOCOL_TOO_OLD"
    assert "start it anew" in caught.value.hint


@pytest.mark.parametrize(
    ("laid_down", "coordinator", "site"), [(3, 3, 1), (1, 1, 3), (2, 3, 1), (2, 2, 4)]
)
def test_releases_further_apart_refuse_at_the_manifest(
    tmp_path: Path, speak: Speak, laid_down: int, coordinator: int, site: int
) -> None:
    code = "PROTOCOL_TOO_NEW" if laid_down > site else "PROTOCOL_TOO_OLD"
    with pytest.raises(QuorumError) as caught:
        run_of(tmp_path, speak, laid_down=laid_down, coordinator=coordinator, site=site)
    homes = sorted((tmp_path / "federation" / "sites").iterdir())
    assert [home.name for home in homes] == list(SITES)
    for home in homes:
        assert f"{home.name}: {code}" in str(caught.value)
        assert code in (home / "site.log").read_text()
        assert not list(home.glob("runs/*/manifest.cbor"))
    history = history_of(tmp_path / "run")
    assert (history.participants, history.accepted) == ([], {})
    assert [(f["site"], f["code"]) for f in history.failures] == [(site, code) for site in SITES]
