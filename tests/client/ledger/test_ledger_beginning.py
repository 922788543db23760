"""A home in which a ledger was begun does not pass for a new one, whatever was taken from it."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.client.ledger.crashing_disk import CrashingDisk, SimulatedCrash
from tests.client.ledger.ledgers import CAPS, StillClock, opened, place, reserve, steps

from fedward_client.ledger.beginning import begun_ledger
from fedward_client.ledger.override import Signatures, assumed_charges, override_ledger
from fedward_client.ledger.site_ledger import Ledger, open_ledger
from fedward_client.site_home import create_site_home
from fedward_common.errors import ConfigurationError, LedgerDamagedError

SIGNED = Signatures("head of radiology", "data protection officer", "the disk was lost")


def used(home: Path) -> Path:
    """A home in which a run has trained, and what a run leaves."""
    with opened(home) as ledger:
        reserve(ledger)
        ledger.begin_round("run1", 1, 1, steps(1))
    run = home / "runs" / "run1"
    run.mkdir(parents=True)
    (run / "privacy.json").write_text("{}")
    (run / "activity.jsonl").write_text("{}\n")
    return home


def without_ledger_and_heads(home: Path) -> None:
    shutil.rmtree(home / "ledger")
    (home / "trust" / "ledger-head.json").unlink()


def without_ledger_heads_and_runs(home: Path) -> None:
    without_ledger_and_heads(home)
    shutil.rmtree(home / "runs")


def without_all_but_plans(home: Path) -> None:
    without_ledger_and_heads(home)
    (home / "ledger_begun.json").unlink()
    (home / "runs" / "run1" / "activity.jsonl").unlink()


def without_all_but_activity(home: Path) -> None:
    without_ledger_and_heads(home)
    (home / "ledger_begun.json").unlink()
    (home / "runs" / "run1" / "privacy.json").unlink()


def without_the_mark(home: Path) -> None:
    (home / "ledger_begun.json").unlink()


LOSSES = [
    without_ledger_and_heads,
    without_ledger_heads_and_runs,
    without_all_but_plans,
    without_all_but_activity,
    without_the_mark,
]


@pytest.mark.parametrize("loss", LOSSES)
def test_whatever_is_taken_the_site_does_not_pass_for_a_new_one(
    tmp_path: Path, loss: Callable[[Path], None]
) -> None:
    loss(used(tmp_path))
    for _ in range(2):
        assert not place(tmp_path).is_unused()
        with pytest.raises(LedgerDamagedError) as caught:
            opened(tmp_path)
        assert "ledger override" in caught.value.hint
        assert "ledger_begun.json" in caught.value.hint


@pytest.mark.parametrize("loss", LOSSES)
def test_two_persons_may_go_on_after_each_of_these_losses(
    tmp_path: Path, loss: Callable[[Path], None]
) -> None:
    loss(used(tmp_path))
    override_ledger(place(tmp_path), StillClock(), SIGNED, assumed_charges(None, 1e-5), None)
    with opened(tmp_path) as ledger:
        ledger.verify()
        assert len(ledger.accounts.overrides) == 1
    assert not (tmp_path / "runs" / "run1" / "manifest.cbor").exists()


def test_a_ledger_of_another_home_of_the_same_key_is_refused(tmp_path: Path) -> None:
    home = used(tmp_path / "home")
    with opened(tmp_path / "fresh") as fresh:
        reserve(fresh, planned=steps(1))
    without_ledger_and_heads(home)
    shutil.copytree(tmp_path / "fresh" / "ledger", home / "ledger")
    shutil.copyfile(
        tmp_path / "fresh" / "trust" / "ledger-head.json", home / "trust" / "ledger-head.json"
    )
    with pytest.raises(LedgerDamagedError, match="another ledger"):
        opened(home)


def test_with_another_split_key_nobody_would_be_known_so_nothing_opens(tmp_path: Path) -> None:
    home = create_site_home(tmp_path, split_key=b"k" * 32)
    with open_ledger(home, StillClock()) as ledger:
        reserve(ledger, planned=steps(1, 20.0), caps=dataclasses.replace(CAPS, epsilon_total=200))
    (tmp_path / "split.key").write_text("6c" * 32)
    with pytest.raises(LedgerDamagedError, match=r"split\.key was replaced"):
        open_ledger(home, StillClock())
    (tmp_path / "split.key").unlink()
    with pytest.raises(ConfigurationError, match=r"split\.key"):
        open_ledger(home, StillClock())


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "\x00", '{"schema":1,"seal":2}'])
def test_a_mark_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    (used(tmp_path) / "ledger_begun.json").write_text(text)
    with pytest.raises(LedgerDamagedError, match="was changed"):
        opened(tmp_path)


def test_the_mark_is_there_before_the_first_reservation_whenever_the_machine_dies(
    tmp_path: Path,
) -> None:
    for dies_at in range(1, 200):
        home = tmp_path / str(dies_at)
        home.mkdir()
        disk = CrashingDisk(dies_at, seed=dies_at, power_cut=True)
        died = False
        ledger: Ledger | None = None
        try:
            with disk.plugged_in():
                ledger = opened(home)
                reserve(ledger)
        except SimulatedCrash:
            died = True
        finally:
            if ledger is not None:
                ledger.close()
        with opened(home) as again:  # a crash costs nobody the ledger
            name = begun_ledger(place(home).begun_mark, place(home).seal_key)
            assert name == again.accounts.name
        if not died:
            return
    raise AssertionError("the machine never lived")
