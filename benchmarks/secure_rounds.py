"""What secure aggregation adds to whole rounds of the pneumonia example: four hospitals, workers.

    python -m benchmarks.secure_rounds --data-root DATA
    python -m benchmarks.secure_rounds --data-root DATA --local-steps 8
    python -m benchmarks.secure_rounds --data-root DATA --batch-patients 40

The example trains two steps of a small network in a round; with more, the same masks are a smaller
part of it, and with smaller batches a larger one, as on a machine that trains faster. Runs with and
without it take turns, so that a machine that gets slower or busier slows both down. Figures are of
the rounds after the first, in which sites are opened. Processor seconds are those of all processes
of a run; they move less than the clock's with what else the machine does.
"""

import argparse
import ctypes
import json
import os
import resource
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measuring import FEDWARD, ROOT, data_root, parser, run_child, show

LIMIT_RATIO = 1.10
_EXAMPLE = ROOT / "examples" / "pneumonia.toml"
_COHORTS = ROOT / "examples" / "pneumonia.cohorts.toml"
# <linux/prctl.h>: orphans of a child become children of this process.
_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """Measure and print."""
    options = parser(__doc__ or "")
    options.add_argument("--data-root", type=Path, help="default: $FEDWARD_DATA_ROOT")
    options.add_argument("--rounds", type=int, default=30)
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--local-steps", type=int, default=2, help="of a round; the example's: 2")
    options.add_argument("--batch-patients", type=int, default=64, help="the example's: 64")
    asked = options.parse_args()
    data = asked.data_root or data_root()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    rows = [
        measure(data, asked, repeat, is_on=is_on)
        for repeat in range(asked.repeats)
        for is_on in (False, True)
    ]
    off, on = ([row for row in rows if row["masked"] == kind] for kind in ("no", "yes"))
    show(
        f"pneumonia example, {asked.rounds} rounds of {asked.local_steps} local steps with "
        f"{asked.batch_patients} patients, {asked.workers} workers",
        rows,
        as_json=asked.json,
        median_ratio_wall_a_round=_ratio(on, off, "wall ms a round"),
        median_ratio_cpu_seconds=_ratio(on, off, "cpu s"),
        median_added_cpu_milliseconds_a_round=1000 * _added(on, off, "cpu s") / asked.rounds,
        limit_ratio=LIMIT_RATIO,
        load_average_at_the_end=os.getloadavg()[0],
    )


def measure(data: Path, asked: argparse.Namespace, repeat: int, *, is_on: bool) -> dict[str, Any]:
    """Run the example once."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        changes = (
            f"job.rounds={asked.rounds},training.local_steps={asked.local_steps},"
            f"training.batch_patients={asked.batch_patients},"
            f"secure_aggregation.enabled={str(is_on).lower()}"
        )
        before = _seconds_of_children()
        run_child(
            [
                *(FEDWARD, "simulate", str(_EXAMPLE), "--cohorts", str(_COHORTS)),
                *("--data-root", str(data), "--out", str(out), "--set", changes),
                *("--workers", str(asked.workers), "--no-examples"),
            ]
        )
        _wait_for_orphans()
        lines = (out / "journal" / "entries.jsonl").read_text().splitlines()
        ends = [e["seconds"] for e in map(json.loads, lines) if e["kind"] == "round.committed"]
    return {
        "repeat": repeat,
        "masked": "yes" if is_on else "no",
        "wall ms a round": 1000 * (ends[-1] - ends[0]) / (len(ends) - 1),
        "cpu s": _seconds_of_children() - before,
    }


def _wait_for_orphans() -> None:
    """Wait for the fork server and its workers: the seconds of a process count once it is."""
    try:
        while True:
            os.wait()
    except ChildProcessError:
        return


def _seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _ratio(on: list[dict[str, Any]], off: list[dict[str, Any]], name: str) -> float:
    """Give the median of the ratios of neighbouring runs."""
    return float(statistics.median(a[name] / b[name] for a, b in zip(on, off, strict=True)))


def _added(on: list[dict[str, Any]], off: list[dict[str, Any]], name: str) -> float:
    return float(statistics.median(a[name] - b[name] for a, b in zip(on, off, strict=True)))


if __name__ == "__main__":
    main()
