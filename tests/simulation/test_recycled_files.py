"""A round's large sealed files are written over those of the last one, and none stays behind."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message
from tests.masked_federation import MASKED, Passing, WatchedGrid, last_weights
from tests.tiny_federation import TinyFederation

from fedward_common import round_vault


def inodes(files: Iterable[Path]) -> dict[str, int]:
    return {file.name: file.stat().st_ino for file in files}


def test_a_round_is_written_over_the_last_one_and_nothing_is_left_after_the_test(
    tiny: TinyFederation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(round_vault, "_SPARE_FROM_BYTES", 4096)
    federation = tiny.with_job(MASKED, "job.rounds=3", "evaluation.every=3")
    run_folder, home = tmp_path / "run", next(iter(federation.homes.values()))
    of_site: dict[int, dict[str, int]] = {}
    of_coordinator: dict[int, dict[str, int]] = {}

    spares: list[tuple[bool, int]] = []

    def watch(passing: Passing, _: Message) -> None:
        if passing.kind == "train.round" and passing.site == home.name:
            is_there = (run_folder / ".spare-totals").exists()
            spares.append((is_there, len(list(home.glob("runs/*/secure/spare")))))
        if passing.kind == "query.unmask" and passing.site == home.name:
            round_folders = f"runs/*/secure/train-{passing.round:08d}/*.sealed"
            of_site.setdefault(passing.round, inodes(home.glob(round_folders)))
            totals = (run_folder / "secure-train").glob("*.sealed")
            of_coordinator.setdefault(passing.round, inodes(totals))

    federation.run(run_folder, grid=WatchedGrid(federation, before=watch))
    assert spares == [(False, 0), (True, 1), (True, 1)]
    for number in (2, 3):
        assert of_site[number]["contribution.sealed"] in of_site[number - 1].values()
        assert of_coordinator[number]["totals.sealed"] in of_coordinator[number - 1].values()
    assert not (run_folder / ".spare-totals").exists()
    for one in federation.homes.values():
        assert not list(one.glob("runs/*/secure/spare"))


def test_written_over_or_not_a_run_comes_to_the_same(
    tiny: TinyFederation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = tiny.with_job(MASKED, "job.rounds=3")
    federation.run(tmp_path / "plain")
    monkeypatch.setattr(round_vault, "_SPARE_FROM_BYTES", 1)
    federation.run(tmp_path / "over")
    plain, over = last_weights(tmp_path / "plain"), last_weights(tmp_path / "over")
    np.testing.assert_allclose(over, plain, rtol=0, atol=1e-5)
