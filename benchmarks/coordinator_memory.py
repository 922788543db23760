"""Peak memory of the coordinator's process with 10 and with 100 sites of 1,000,000 parameters.

    python -m benchmarks.coordinator_memory

Sites run in worker processes, so the peak is the coordinator's own. It also says how far the peak
lies above the process before its first round.
"""

import os
import sys
import tempfile
import threading
import time
from pathlib import Path

from benchmarks.measuring import FEDWARD, parser, show
from benchmarks.synthetic_sites import make_sites, write_job

LIMIT_RATIO = 1.2


def main() -> None:
    """Measure and print."""
    options = parser(__doc__ or "")
    options.add_argument("--rounds", type=int, default=3)
    asked = options.parse_args()
    rows = [measure(sites, asked.rounds) for sites in (10, 100)]
    peaks = [float(row["peak MiB"]) for row in rows]
    show(
        "Coordinator, 1M parameters",
        rows,
        as_json=asked.json,
        ratio=peaks[1] / peaks[0],
        limit_ratio=LIMIT_RATIO,
    )


def measure(num_sites: int, rounds: int) -> dict[str, float | int]:
    """Run one simulation and follow the peak of its own process, not of its workers."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cohorts = make_sites(folder, num_sites, patients=8)
        job = write_job(folder, rounds=rounds, width=60)
        arguments = [FEDWARD, "simulate", str(job), "--cohorts", str(cohorts)]
        arguments += ["--out", str(folder / "out"), "--workers", "2", "--no-examples"]
        started = time.perf_counter()
        peak = _peak_of(arguments)
        seconds = time.perf_counter() - started
    return {"sites": num_sites, "peak MiB": peak, "seconds": seconds}


def _peak_of(arguments: list[str]) -> float:
    """Give the peak resident memory of the process itself, in MiB (Linux: VmHWM)."""
    process = os.posix_spawn(
        arguments[0],
        arguments,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
        ],
    )
    peak = 0.0
    ended = threading.Event()

    def follow() -> None:
        nonlocal peak
        while not ended.wait(0.02):
            peak = max(peak, _high_water_mark(process))

    follower = threading.Thread(target=follow)
    follower.start()
    _, status = os.waitpid(process, 0)
    ended.set()
    follower.join()
    if status:
        sys.exit(f"the simulation ended with {os.waitstatus_to_exitcode(status)}")
    return peak


def _high_water_mark(process: int) -> float:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    for line in lines:
        if line.startswith("VmHWM:"):
            return float(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    main()
