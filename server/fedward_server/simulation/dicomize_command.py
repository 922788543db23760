"""`fedward dicomize`: arrays, pictures and volumes to DICOM hospitals, with a table of them."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from fedward_common.errors import ConfigurationError
from fedward_common.job.job_file import read_job, table_of_job
from fedward_common.settings import read_toml
from fedward_common.toml_writing import toml_of
from fedward_server.empty_folder import claim_empty_folder
from fedward_server.simulation.site_side import dicomizing_side


def run_dicomize(
    job_file: Path, cohorts_file: Path, data_root: Path | None, out: Path, *, json_output: bool
) -> None:
    """Wrap every site of a cohorts file and say what was made, and how to go on.

    Raises:
        FedwardError: With one line and a hint.
    """
    job = read_job(job_file)
    cohorts = read_toml(cohorts_file)
    root = (data_root or cohorts_file.parent).resolve()
    if not root.is_dir():
        raise ConfigurationError(f"{root} is no folder", hint="check --data-root")
    claim_empty_folder(out)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bars: dict[str, Any] = {}

        def show(site: str, done: int, total: int) -> None:
            if site not in bars:
                bars[site] = progress.add_task(site, total=total)
            progress.update(bars[site], completed=done)

        made = dicomizing_side().dicomize(cohorts, root, job, out, show)
    from_weights = job.model.start != "random"  # a path relative to the job file, which moves
    content = toml_of(table_of_job(job)).encode() if from_weights else job_file.read_bytes()
    (out / "job.toml").write_bytes(content)
    if json_output:
        sys.stdout.write(json.dumps(made, indent=1) + "\n")
        return
    _print(Console(), made, out)


def _print(console: Console, made: list[dict[str, Any]], out: Path) -> None:
    table = Table("site", "cases", "files", "left out", "largest error of a pixel", box=None)
    for one in made:
        left_out = ", ".join(f"{code} {n}" for code, n in one["excluded"].items()) or "none"
        error = one["largest_error"]
        cells = (one["cases"], one["files"], left_out, f"{error:.3g}" if error else "none")
        table.add_row(one["site"], *map(str, cells))
    console.print(table)
    _say(console, "")
    _say(console, "Next: register each site as a hospital does, all of them with")
    _say(console, f"  sh {out / 'register.sh'}")
    _say(console, f"or, in {out}, one by one with")
    for one in made:
        _say(console, f"  {shlex.join(one['register'])}")
    _say(console, "and then train on them:")
    job, cohorts = out / "job.toml", out / "cohorts.toml"
    _say(console, f"  fedward simulate {job} --cohorts {cohorts} --out {out / 'simulated'}")


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
