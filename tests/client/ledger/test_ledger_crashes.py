"""A ledger on a machine that dies at any step: never less recorded than used."""

import errno
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.client.ledger.crashing_disk import CrashingDisk, SimulatedCrash
from tests.client.ledger.ledgers import (
    StillClock,
    essence,
    opened,
    patients,
    reserve,
    steps,
    steps_by_patient,
)

from fedward_client.ledger import ledger_file
from fedward_client.ledger.accounts import Accounts
from fedward_client.ledger.ledger_file import forget_what_was_verified
from fedward_client.ledger.site_ledger import Ledger
from fedward_common.errors import DiskFullError, PrivacyError


@dataclass
class Used:
    """What a run has really done: told by the ledger, then trained."""

    reserved: set[str] = field(default_factory=set)
    begun: dict[tuple[str, int, int], int] = field(default_factory=dict)
    committed: set[tuple[str, int, int]] = field(default_factory=set)
    members: dict[str, tuple[int, ...]] = field(default_factory=dict)
    evaluations: int = 0

    def steps_of(self, patient: int) -> int:
        return sum(
            count for (run, _, _), count in self.begun.items() if patient in self.members[run]
        )


def require_nothing_forgotten(ledger: Ledger, used: Used) -> None:
    """Everything that was acknowledged is in the ledger, and each patient is charged for it."""
    runs = ledger.accounts.runs
    assert used.reserved <= runs.keys()
    for (run, number, attempt), count in used.begun.items():
        assert runs[run].begun[number, attempt].disclosure == steps(count)
    for run, number, attempt in used.committed:
        assert (number, attempt) in runs[run].committed
    assert len(ledger.accounts.evaluations) >= used.evaluations
    spent = steps_by_patient(ledger, with_reserved=False)
    charged = steps_by_patient(ledger, with_reserved=True)
    for patient in range(12):
        name = patients([patient])[0].tobytes()
        assert used.steps_of(patient) <= spent.get(name, 0) <= charged.get(name, 0)


def work(home: Path, used: Used, seed: int, actions: int = 12) -> None:
    """Do what sites do in an order of chance, and note what was acknowledged."""
    chance = random.Random(seed)
    ledger = opened(home)
    try:
        require_nothing_forgotten(ledger, used)
        for _ in range(actions):
            try:
                one_action(ledger, used, chance)
            except PrivacyError as error:
                assert error.code in EXPECTED
            if chance.random() < 0.15:
                ledger.close()
                ledger = opened(home)
    finally:
        ledger.close()


EXPECTED = {"BUDGET_EXCEEDED", "RUN_RELEASED", "RUN_ALREADY_RESERVED", "ROUND_ALREADY_BEGUN"}


def one_action(ledger: Ledger, used: Used, chance: random.Random) -> None:
    runs = sorted(ledger.accounts.runs)
    kind = chance.choice(["reserve", "begin", "begin", "begin", "commit", "evaluate", "release"])
    if kind == "reserve" or not runs:
        run = f"run{chance.randrange(1000)}"
        members = tuple(chance.sample(range(12), chance.randint(1, 8)))
        reserve(ledger, run, members, steps(chance.randint(2, 30)))
        used.reserved.add(run)
        used.members[run] = members
    elif kind == "begin":
        run, number, attempt = chance.choice(runs), chance.randint(1, 5), chance.randint(1, 3)
        count = chance.randint(1, 4)
        if run not in used.members:  # reserved just as the machine died
            return
        ledger.begin_round(run, number, attempt, steps(count))
        used.begun[run, number, attempt] = count
    elif kind == "commit" and used.begun:
        chosen = chance.choice(sorted(used.begun))
        ledger.commit_round(*chosen)
        used.committed.add(chosen)
    elif kind == "evaluate":
        ledger.note_evaluation(chance.choice(runs), "validation", patients([1, 2]), "exact")
        used.evaluations += 1
    elif kind == "release" and chance.random() < 0.3:
        ledger.release(chance.choice(runs))


def die_and_start_again(home: Path, used: Used, seed: int, disk: CrashingDisk) -> bool:
    """Give whether the machine died before the work was done."""
    died = False
    with disk.plugged_in():
        try:
            work(home, used, seed)
        except SimulatedCrash:
            died = True
            forget_what_was_verified()  # the new process knows nothing
    with opened(home) as ledger:
        ledger.verify()
        require_nothing_forgotten(ledger, used)
    return died


@pytest.mark.parametrize("power_cut", [False, True], ids=["kill -9", "power cut"])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_machine_that_dies_at_any_step_forgets_nothing_that_was_used(
    tmp_path: Path, seed: int, power_cut: bool
) -> None:
    for dies_at in range(1, 10_000):
        home = tmp_path / str(dies_at)
        home.mkdir()
        disk = CrashingDisk(dies_at, seed=dies_at, power_cut=power_cut)
        used = Used()
        if not die_and_start_again(home, used, seed, disk):
            break
        work(home, used, seed + 1, actions=3)  # and it goes on
    assert dies_at > 50


@pytest.mark.slow
def test_a_thousand_crashes_of_chance_one_after_the_other_forget_nothing(tmp_path: Path) -> None:
    """Ledgers that live through twenty crashes each, of both kinds."""
    crashes, number = 0, 0
    while crashes < 1000:
        number += 1
        home = tmp_path / str(number)
        home.mkdir()
        used = Used()
        chance = random.Random(number)
        for _ in range(20):
            disk = CrashingDisk(
                chance.randint(1, 120), chance.randrange(2**32), power_cut=chance.random() < 0.5
            )
            crashes += die_and_start_again(home, used, chance.randrange(2**32), disk)
    assert number < 200


# -- a full disk -----------------------------------------------------------------------------------


def full_from(first: int) -> Callable[..., int]:
    """An `os.write` for a disk that fills up in the middle of the N-th write."""
    real, writes = os.write, [0]

    def write(descriptor: int, block: Any) -> int:
        writes[0] += 1
        if writes[0] == first and len(block) > 1:
            return real(descriptor, bytes(block)[: len(block) // 2])
        if writes[0] >= first:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, block)

    return write


def acts(ledger: Ledger, used: Used) -> Iterator[None]:
    reserve(ledger, "run1", range(4), steps(9))
    used.reserved.add("run1")
    used.members["run1"] = tuple(range(4))
    yield
    for number in (1, 2, 3):
        ledger.begin_round("run1", number, 1, steps(2))
        used.begun["run1", number, 1] = 2
        yield
        ledger.commit_round("run1", number, 1)
        used.committed.add(("run1", number, 1))
        yield


def test_a_disk_that_is_full_at_any_write_is_named_and_nothing_used_is_forgotten(
    tmp_path: Path,
) -> None:
    places = 0
    for first in range(1, 200):
        home = tmp_path / str(first)
        home.mkdir()
        used = Used()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "write", full_from(first))
            try:
                with opened(home) as ledger:
                    for _ in acts(ledger, used):
                        pass
                break
            except DiskFullError:
                places += 1
        with opened(home) as ledger:
            require_nothing_forgotten(ledger, used)
            reserve(ledger, "run2", [11])
    assert places > 20


def test_a_ledger_goes_on_once_there_is_space_again(tmp_path: Path) -> None:
    """Wherever in an entry the disk was full, and though the same ledger stays open."""
    for first in range(1, 20):
        home = tmp_path / str(first)
        home.mkdir()
        with opened(home) as ledger:
            reserve(ledger)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(os, "write", full_from(first))
                try:
                    ledger.begin_round("run1", 1, 1, steps(2))
                except DiskFullError as error:
                    assert error.hint
                else:
                    break
            ledger.begin_round("run1", 1, 2, steps(2))
            ledger.commit_round("run1", 1, 2)
        with opened(home) as ledger:
            account = ledger.accounts.run("run1")
            assert account.committed == {(1, 2)}
            assert steps(2) in account.spent or steps(4) in account.spent
    assert first > 3


def test_no_entry_is_written_while_the_heads_cannot_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two entries ahead of both heads would look like heads that were rolled back."""

    def no_space(path: Path, head: object) -> None:
        raise DiskFullError(f"no space left to write {path.name}")

    with opened(tmp_path) as ledger:
        reserve(ledger)
        with monkeypatch.context() as patch:
            patch.setattr(ledger_file, "write_head", no_space)
            for number in (1, 2, 3):
                with pytest.raises(DiskFullError):
                    ledger.begin_round("run1", number, 1, steps(2))
    forget_what_was_verified()
    with opened(tmp_path) as ledger:
        assert list(ledger.accounts.run("run1").begun) == [(1, 1)]


def test_ctrl_c_in_the_middle_of_an_entry_leaves_a_ledger_that_opens(tmp_path: Path) -> None:
    real = os.fsync
    for chosen in range(1, 20):
        home = tmp_path / str(chosen)
        home.mkdir()
        syncs = [0]

        def fsync(descriptor: int, chosen: int = chosen, syncs: list[int] = syncs) -> None:
            syncs[0] += 1
            real(descriptor)
            if syncs[0] == chosen:
                raise KeyboardInterrupt

        with opened(home) as ledger:
            reserve(ledger)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(os, "fsync", fsync)
                try:
                    ledger.begin_round("run1", 1, 1, steps(2))
                except KeyboardInterrupt:
                    pass
                else:
                    break
        with opened(home) as ledger:
            ledger.begin_round("run1", 1, 2, steps(2))
            kept = essence(ledger)
        forget_what_was_verified()
        with opened(home) as ledger:
            assert essence(ledger) == kept
    assert chosen > 3


def test_ctrl_c_between_the_disk_and_the_memory_forgets_no_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(accounts: Accounts, entry: object) -> None:
        raise KeyboardInterrupt

    with opened(tmp_path) as ledger:
        reserve(ledger)
        with monkeypatch.context() as patch:
            patch.setattr(Accounts, "add", interrupted)
            with pytest.raises(KeyboardInterrupt):
                ledger.begin_round("run1", 1, 1, steps(2))
        with pytest.raises(OSError, match="descriptor"):
            ledger.begin_round("run1", 2, 1, steps(2))
    with opened(tmp_path) as ledger:
        assert list(ledger.accounts.run("run1").begun) == [(1, 1)]


# -- a process that is really killed ---------------------------------------------------------------

_ROUNDS = """
import pathlib, sys
from tests.client.ledger.ledgers import CAPS, opened, patients, steps
with opened(pathlib.Path(sys.argv[1])) as ledger:
    ledger.reserve("run1", "p", "c", patients(range(5)), (steps(100),), CAPS)
    for number in range(100):
        ledger.begin_round("run1", number, 1, steps(1))
        sys.stdout.write(f"{number}\\n")
        sys.stdout.flush()
        ledger.commit_round("run1", number, 1)
"""


@pytest.mark.parametrize("killed_at", [0, 7])
def test_a_process_that_is_killed_has_recorded_every_round_it_began(
    tmp_path: Path, project_root: Path, killed_at: int
) -> None:
    environment = os.environ | {"PYTHONPATH": str(project_root)}
    with subprocess.Popen(
        [sys.executable, "-c", _ROUNDS, str(tmp_path)], stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        begun = -1
        while begun < killed_at:
            begun = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    with opened(tmp_path, StillClock()) as ledger:
        account = ledger.accounts.run("run1")
        assert {(number, 1) for number in range(killed_at + 1)} <= account.begun.keys()
        assert account.charged == (steps(100),)
