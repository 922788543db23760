"""Seconds until `fedward --help` is printed, and from `fedward simulate` to the first round.

    python -m benchmarks.startup

The first round begins when the journal names who was accepted: by then torch is imported, workers
run, and every site has decoded its images and checked the manifest.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measuring import FEDWARD, ROOT, data_root, parser, show

LIMITS = {"help": 1.0, "first round": 4.0}


def main() -> None:
    """Measure and print."""
    options = parser(__doc__ or "")
    options.add_argument("--repeats", type=int, default=5)
    asked = options.parse_args()
    seconds_to_help(), seconds_to_first_round()  # warm the page cache
    rows = [
        {"repeat": n, "help s": seconds_to_help(), "first round s": seconds_to_first_round()}
        for n in range(asked.repeats)
    ]
    middle = len(rows) // 2
    show(
        "Start-up",
        rows,
        as_json=asked.json,
        median_help_seconds=sorted(row["help s"] for row in rows)[middle],
        median_first_round_seconds=sorted(row["first round s"] for row in rows)[middle],
        limits_seconds=LIMITS,
    )


def seconds_to_help() -> float:
    """Time the whole process."""
    started = time.perf_counter()
    subprocess.run([FEDWARD, "--help"], check=True, capture_output=True)
    return time.perf_counter() - started


def seconds_to_first_round() -> float:
    """Time from the command to the journal's entry just before the first round."""
    job = ROOT / "examples" / "pneumonia.toml"
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "out"
        arguments = [FEDWARD, "simulate", str(job), "--data-root", str(data_root())]
        arguments += ["--cohorts", str(job.with_suffix(".cohorts.toml")), "--out", str(out)]
        started = time.perf_counter()
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        journal = out / "journal" / "entries.jsonl"
        while not (journal.exists() and "run.accepted" in journal.read_text()):
            if process.poll() is not None:
                sys.exit("the simulation ended before its first round")
            time.sleep(0.005)
        seconds = time.perf_counter() - started
        process.kill()
        process.wait()
        shutil.rmtree(out, ignore_errors=True)
    return seconds


if __name__ == "__main__":
    main()
