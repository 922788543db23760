"""Accuracy and time of an example on real images, three seeds, each as a user runs it.

    python -m benchmarks.accuracy pneumonia
    python -m benchmarks.accuracy hippocampus

Pneumonia: mean test AUC of at least 0.945, and no more than 0.01 below the pooled baseline of the
same budget; under 300 seconds a seed, baselines included. Hippocampus: mean Dice of at least 0.86
for both structures; under 1,200 seconds.
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measuring import FEDWARD, ROOT, data_root, parser, run_child, show

TARGETS = {
    "pneumonia": {"auc": 0.945},
    "hippocampus": {"dice:anterior": 0.86, "dice:posterior": 0.86},
}
LIMIT_SECONDS = {"pneumonia": 300.0, "hippocampus": 1200.0}
MARGIN = 0.01


def main() -> None:
    """Measure and print; exit status 1 where a target is missed."""
    options = parser(__doc__ or "")
    options.add_argument("example", choices=sorted(TARGETS))
    options.add_argument("--seeds", default="0,1,2")
    asked = options.parse_args()
    rows = [measure(asked.example, int(seed)) for seed in asked.seeds.split(",")]
    means = {
        name: statistics.fmean(row[name] for row in rows) for name in rows[0] if name != "seed"
    }
    missed = _missed(asked.example, means, max(row["seconds"] for row in rows))
    mean_row = {"seed": "mean", **means}
    show(asked.example, [*rows, mean_row], as_json=asked.json, missed=missed)
    sys.exit(1 if missed else 0)


def measure(example: str, seed: int) -> dict[str, Any]:
    """Run one seed through the command line, in a fresh folder."""
    job = ROOT / "examples" / f"{example}.toml"
    arguments = [FEDWARD, "simulate", str(job), "--data-root", str(data_root())]
    arguments += ["--cohorts", str(job.with_suffix(".cohorts.toml")), "--seed", str(seed)]
    if example == "pneumonia":
        arguments.append("--baselines")
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "out"
        finished = run_child([*arguments, "--out", str(out)])
        result = json.loads((out / "result.json").read_text())
    row: dict[str, Any] = {"seed": seed}
    row |= {metric: result["metrics"][metric]["value"] for metric in TARGETS[example]}
    if result["baselines"]:
        local = result["baselines"]["local"].values()
        row["pooled auc"] = result["baselines"]["pooled"]["metrics"]["auc"]["value"]
        row["local mean auc"] = statistics.fmean(b["metrics"]["auc"]["value"] for b in local)
    row["training s"] = result["seconds"]["training"]
    row["overhead s"] = result["seconds"]["overhead"]
    row["seconds"] = finished.wall_seconds
    row["cpu s"] = finished.cpu_seconds
    row["peak MiB"] = finished.peak_mebibytes
    return row


def _missed(example: str, means: dict[str, float], slowest: float) -> list[str]:
    missed = [
        f"{metric} {means[metric]:.4f} < {target}"
        for metric, target in TARGETS[example].items()
        if means[metric] < target
    ]
    if "pooled auc" in means and means["auc"] < means["pooled auc"] - MARGIN:
        missed.append(f"more than {MARGIN} below the pooled baseline")
    if slowest > LIMIT_SECONDS[example]:
        missed.append(f"{slowest:.0f} s > {LIMIT_SECONDS[example]:.0f} s")
    return missed


if __name__ == "__main__":
    main()
