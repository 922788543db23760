"""Kill a simulation at random moments with SIGKILL and go on; compare with an undisturbed run.

    python -m benchmarks.resume

Every moment is a run of its own: killed once, then resumed to its end. Weights (SHA-256 of the
model file), history and every test figure must be identical to the undisturbed run's.
"""

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measuring import FEDWARD, ROOT, data_root, parser, show


def main() -> None:
    """Measure and print; exit status 1 where a resumed run differs."""
    options = parser(__doc__ or "")
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    draw = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as name:
        started = time.perf_counter()
        undisturbed = _finished(Path(name) / "undisturbed")
        length = time.perf_counter() - started
        rows = []
        for number in range(asked.kills):
            moment = draw.uniform(0.05, 1.0) * length
            out = Path(name) / f"killed-{number}"
            ended = _killed_after(out, moment)
            rows.append(
                {
                    "kill": number,
                    "after s": moment,
                    "had ended": ended,
                    "identical": _finished(out) == undisturbed,
                }
            )
    same = sum(1 for row in rows if row["identical"])
    show("Killed and resumed", rows, as_json=asked.json, identical=f"{same} of {len(rows)}")
    sys.exit(0 if same == len(rows) else 1)


def _arguments(out: Path) -> list[str]:
    job = ROOT / "examples" / "pneumonia.toml"
    arguments = [FEDWARD, "simulate", str(job), "--data-root", str(data_root())]
    arguments += ["--cohorts", str(job.with_suffix(".cohorts.toml")), "--out", str(out)]
    return [*arguments, "--set", "job.rounds=12,evaluation.every=2", "--resume"]


def _killed_after(out: Path, seconds: float) -> bool:
    process = subprocess.Popen(
        _arguments(out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
    return True


def _finished(out: Path) -> dict[str, Any]:
    subprocess.run(_arguments(out), check=True, capture_output=True)
    result = json.loads((out / "result.json").read_text())
    kept = ("model_sha256", "metrics", "metrics_per_site", "participants", "selected", "confusion")
    history = [(entry["round"], entry["metrics"]) for entry in result["history"]]
    return {key: result[key] for key in kept} | {"history": history}


if __name__ == "__main__":
    main()
