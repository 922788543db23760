"""Milliseconds a round beside training: 10 sites, a network of about 100,000 parameters.

    python -m benchmarks.round_overhead

Sites run in turn in one process on one thread, so total minus training and evaluation is all that
the federation adds: messages, signatures, hashes, sums, checkpoint, journal. Milliseconds move with
the machine's speed of the minute; their share of the training time moves less.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measuring import FEDWARD, parser, run_child, show
from benchmarks.synthetic_sites import make_sites, write_job

LIMIT_MILLISECONDS = 20.0


def main() -> None:
    """Measure and print."""
    options = parser(__doc__ or "")
    options.add_argument("--sites", type=int, default=10)
    options.add_argument("--rounds", type=int, default=100)
    options.add_argument("--repeats", type=int, default=3)
    asked = options.parse_args()
    rows = [measure(asked.sites, asked.rounds, repeat) for repeat in range(asked.repeats)]
    middle = sorted(row["overhead ms a round"] for row in rows)[len(rows) // 2]
    share = sorted(row["share of training"] for row in rows)[len(rows) // 2]
    show(
        f"{asked.sites} sites, {asked.rounds} rounds, in turn",
        rows,
        as_json=asked.json,
        median_overhead_milliseconds=middle,
        median_share_of_training=share,
        limit_milliseconds=LIMIT_MILLISECONDS,
    )


def measure(num_sites: int, rounds: int, repeat: int) -> dict[str, float | int]:
    """Run one simulation; the first round, which opens the sites, is in the total too."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cohorts = make_sites(folder, num_sites)
        job = write_job(folder, rounds=rounds, width=18)
        out = folder / "out"
        arguments = [FEDWARD, "simulate", str(job), "--cohorts", str(cohorts), "--out", str(out)]
        run_child([*arguments, "--workers", "0", "--no-examples"])
        result = json.loads((out / "result.json").read_text())
        committed = [
            entry["seconds"]
            for entry in _lines(out / "journal" / "entries.jsonl")
            if entry["kind"] == "round.committed"
        ]
        # Opening the sites falls into the first round; benchmarks.startup measures it.
        training = sum(
            line["training_seconds"]
            for file in out.glob("sites/*/runs/*/activity.jsonl")
            for line in _lines(file)
            if line["round"] > 1
        )
    seconds = committed[-1] - committed[0]
    return {
        "repeat": repeat,
        "parameters": result["num_parameters"],
        "round ms": 1000 * seconds / (rounds - 1),
        "training ms a round": 1000 * training / (rounds - 1),
        "overhead ms a round": 1000 * (seconds - training) / (rounds - 1),
        "share of training": (seconds - training) / training,
    }


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


if __name__ == "__main__":
    main()
