"""A real process killed with SIGKILL and started again with --resume (F1, F2)."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from tests.e2e.conftest import MakeWorkplace, Workplace, start_fedward
from tests.tiny_federation import tiny_job

NUM_KILLS = 6


def _run_to_its_end(work: Workplace, *options: str, out: str) -> None:
    process = start_fedward(work.simulate("--no-examples", *options, out=out))
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err


def _killed_at(work: Workplace, journal: Path, num_bytes: int) -> bool:
    """Kill the simulation once its journal has so many bytes; false where it ended before."""
    process = start_fedward(work.simulate("--no-examples", "--resume", out="killed"))
    while process.poll() is None:
        if journal.exists() and journal.stat().st_size >= num_bytes:
            os.killpg(process.pid, signal.SIGKILL)
            break
        time.sleep(0.002)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (0, -signal.SIGKILL), err
    return process.returncode != 0


@pytest.mark.slow
def test_a_simulation_killed_six_times_ends_with_the_model_of_the_undisturbed_one(
    make_workplace: MakeWorkplace,
) -> None:
    job = tiny_job(overrides=["job.rounds=40", "training.local_steps=6", "evaluation.every=3"])
    work = make_workplace(job)
    _run_to_its_end(work, out="undisturbed")
    whole = (work.folder / "undisturbed" / "journal" / "entries.jsonl").stat().st_size
    journal = work.folder / "killed" / "journal" / "entries.jsonl"
    fractions = np.sort(np.random.default_rng(2024).uniform(0.02, 0.95, NUM_KILLS))
    killed = [_killed_at(work, journal, int(share * whole)) for share in fractions]
    assert sum(killed) >= NUM_KILLS - 1
    _run_to_its_end(work, "--resume", out="killed")
    undisturbed, resumed = work.result("undisturbed"), work.result("killed")
    assert resumed["model_sha256"] == undisturbed["model_sha256"]
    assert resumed["metrics"] == undisturbed["metrics"]
    assert resumed["metrics_per_site"] == undisturbed["metrics_per_site"]
    assert resumed["participants"] == undisturbed["participants"]
    assert resumed["failures"] == []


@pytest.mark.slow
def test_worker_processes_end_with_the_simulation_that_was_killed(
    make_workplace: MakeWorkplace,
) -> None:
    work = make_workplace(tiny_job(overrides=["job.rounds=500"]))
    process = start_fedward(work.simulate("--no-examples", workers=2))
    journal = work.out / "journal" / "entries.jsonl"
    while process.poll() is None and not (journal.exists() and journal.stat().st_size > 3000):
        time.sleep(0.01)
    family = _processes_of_session(process.pid)
    assert len(family) >= 3
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
    ends = time.monotonic() + 30
    while _processes_of_session(process.pid) and time.monotonic() < ends:
        time.sleep(0.05)
    left = _processes_of_session(process.pid)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    assert left == []


def _processes_of_session(session: int) -> list[int]:
    """Give the living processes that a command started, itself among them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, of = (folder / "stat").read_text().rsplit(")", 1)[1].split()[:4]
        except OSError:
            continue  # it ended meanwhile
        if int(of) == session and state != "Z":
            found.append(int(folder.name))
    return found
