"""A site whose certificate is renewed while a run goes on misses no round of it."""

from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, RecordDict
from tests.client.daemon.test_trusted_roster import DAY, Office
from tests.masked_federation import codes_of
from tests.tiny_federation import (
    SITES,
    TinyFederation,
    essence,
    history_of,
    make_federation,
)

from fedward_client.enrolment.membership_files import own_certificate
from fedward_client.site_home import SiteHome
from fedward_common.identities import SiteId
from fedward_server.coordinator.app import app
from fedward_server.coordinator.observer import SilentObserver, observed_by
from fedward_server.simulation.in_process_grid import InTurnGrid

RENEWED = SiteId("birch")


class RenewsAfterTheFirstRound(SilentObserver):
    """The daemon, as it puts the next certificate into its home."""

    def __init__(self, federation: TinyFederation) -> None:
        self._office = Office(federation)
        self.home = SiteHome(federation.homes[RENEWED])

    def round_committed(
        self, number: int, participants: list[str], failures: list[dict[str, Any]]
    ) -> None:
        if number == 1:
            ends = self._office.authority.not_after_seconds - DAY
            renewed = self._office.certify(RENEWED, not_after_seconds=ends)
            self.home.certificate_file.write_bytes(renewed.der)


@pytest.mark.parametrize("masked", ["false", "true"])
def test_a_site_that_renews_in_mid_run_is_in_every_round(tmp_path: Path, masked: str) -> None:
    federation = make_federation(tmp_path).with_job(
        "job.rounds=3", f"secure_aggregation.enabled={masked}"
    )
    federation.run(tmp_path / "undisturbed")
    folder = tmp_path / "run"
    federation.set_up(folder)
    renewing = RenewsAfterTheFirstRound(federation)
    _, before = own_certificate(renewing.home, now_seconds=None)
    grid = InTurnGrid(federation.node_configs(), "tests.faulty_site:app")
    where = {"run-folder": str(folder), "key-file": str(federation.key_file)}
    with observed_by(renewing):
        app(grid, Context(1, 1, {}, RecordDict(), dict(where)))
    _, after = own_certificate(renewing.home, now_seconds=None)
    assert after.not_after_seconds != before.not_after_seconds
    assert history_of(folder).participants == [list(SITES)] * 3
    assert not codes_of(folder)
    assert essence(folder) == essence(tmp_path / "undisturbed")
