"""The pneumonia example on arrays and through DICOM: are the figures the same?

    python -m benchmarks.dicom_accuracy

Twice the whole job of `examples/pneumonia.toml`, as a user runs it: `fedward simulate` on the
arrays, then `fedward dicomize`, the `fedward-site cohort add` of every hospital (`register.sh`) and
`fedward simulate` on what they registered. The test figures must agree to 1e-6, and so must every
validation figure on the way. Pixels of 8 bits lose nothing, so the weights should be equal too.
"""

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.measuring import FEDWARD, ROOT, data_root, parser, run_child, show

TOLERANCE = 1e-6
_EXAMPLE = ROOT / "examples" / "pneumonia.toml"


def main() -> None:
    """Measure and print; exit status 1 where the two ways differ by more than the tolerance."""
    options = parser(__doc__ or "")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--rounds", type=int, help="fewer than the example's, for a first look")
    asked = options.parse_args()
    common = ["--seed", str(asked.seed)]
    if asked.rounds is not None:
        common += ["--set", f"job.rounds={asked.rounds},evaluation.every={min(asked.rounds, 10)}"]
    with tempfile.TemporaryDirectory() as name:
        arrays, seconds = _through_arrays(Path(name), common)
        dicom, stages = _through_dicom(Path(name), common)
    rows = _compared(arrays["metrics"], dicom["metrics"])
    on_the_way = _largest_difference_on_the_way(arrays, dicom)
    same = max(*(row["difference"] for row in rows), on_the_way) <= TOLERANCE
    show(
        f"pneumonia, {arrays['rounds_completed']} rounds, seed {asked.seed}, on the test images",
        rows,
        as_json=asked.json,
        largest_difference_of_validation=on_the_way,
        validations=len(arrays["history"]),
        model_sha256_on_arrays=arrays["model_sha256"],
        model_sha256_through_dicom=dicom["model_sha256"],
        model_is_the_same=arrays["model_sha256"] == dicom["model_sha256"],
        seconds_on_arrays=seconds,
        **stages,
    )
    sys.exit(0 if same else 1)


def _through_arrays(folder: Path, common: list[str]) -> tuple[dict[str, Any], float]:
    cohorts = _EXAMPLE.with_suffix(".cohorts.toml")
    given = ["--cohorts", str(cohorts), "--data-root", str(data_root()), *common]
    return _simulated(_EXAMPLE, given, folder / "arrays")


def _through_dicom(folder: Path, common: list[str]) -> tuple[dict[str, Any], dict[str, float]]:
    """Give the result, and the seconds of each step."""
    hospitals = folder / "dicom"
    given = ["--cohorts", str(_EXAMPLE.with_suffix(".cohorts.toml"))]
    given += ["--data-root", str(data_root()), "--out", str(hospitals)]
    wrapped = run_child([FEDWARD, "dicomize", str(_EXAMPLE), *given])
    # register.sh names `fedward-site`, which stands beside `fedward`
    searched = f"{Path(FEDWARD).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    registered = run_child(["env", f"PATH={searched}", "sh", str(hospitals / "register.sh")])
    cohorts = ["--cohorts", str(hospitals / "cohorts.toml"), *common]
    result, seconds = _simulated(hospitals / "job.toml", cohorts, folder / "through-dicom")
    return result, {
        "seconds_to_dicomize": wrapped.wall_seconds,
        "seconds_to_register": registered.wall_seconds,
        "seconds_through_dicom": seconds,
    }


def _simulated(job: Path, given: list[str], out: Path) -> tuple[dict[str, Any], float]:
    finished = run_child([FEDWARD, "simulate", str(job), *given, "--out", str(out)])
    result: dict[str, Any] = json.loads((out / "result.json").read_text(encoding="utf-8"))
    return result, finished.wall_seconds


def _compared(
    arrays: Mapping[str, Mapping[str, Any]], dicom: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Give one row for each test figure."""
    if list(arrays) != list(dicom):
        sys.exit(f"other figures: {list(arrays)} on arrays, {list(dicom)} through DICOM")
    return [
        {
            "figure": name,
            "on arrays": arrays[name]["value"],
            "through DICOM": dicom[name]["value"],
            "difference": abs(dicom[name]["value"] - arrays[name]["value"]),
            "same support": arrays[name]["support"] == dicom[name]["support"],
        }
        for name in arrays
    ]


def _largest_difference_on_the_way(arrays: Mapping[str, Any], dicom: Mapping[str, Any]) -> float:
    """Compare the validation figures of every evaluated round."""
    one, other = ({e["round"]: e["metrics"] for e in r["history"]} for r in (arrays, dicom))
    if list(one) != list(other):
        sys.exit(f"evaluated in rounds {list(one)} on arrays, {list(other)} through DICOM")
    differences: list[float] = [
        abs(other[number][name]["value"] - figure["value"])
        for number, figures in one.items()
        for name, figure in figures.items()
    ]
    return max(differences)


if __name__ == "__main__":
    main()
