"""`fedward hold-out`: public images to the one file by which a job's rounds are judged."""

import dataclasses
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from fedward_common.errors import ConfigurationError
from fedward_common.job.hold_out_section import HoldOutSection
from fedward_common.job.job_file import read_job
from fedward_common.settings import read_toml
from fedward_server.simulation.homes import split_key_of_simulations
from fedward_server.simulation.site_side import public_cases_side


def run_hold_out(
    job_file: Path,
    cohorts_file: Path,
    data_root: Path | None,
    out: Path,
    *,
    site: str,
    split: str,
    json_output: bool,
) -> None:
    """Write the set, and say how the job names it.

    Raises:
        FedwardError: With one line and a hint.
    """
    from fedward_server.coordinator.hold_out_set import read_hold_out, write_hold_out

    job, cohorts = read_job(job_file), read_toml(cohorts_file)
    root = (data_root or cohorts_file.parent).resolve()
    if not root.is_dir():
        raise ConfigurationError(f"{root} is no folder", hint="check --data-root")
    if out.exists():
        raise ConfigurationError(f"{out} is there already", hint="choose another --out")
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(site, total=None)

        def show(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        arrays = public_cases_side().public_cases(
            cohorts,
            root,
            job,
            site=site,
            split=split,
            split_key=split_key_of_simulations(),
            progress=show,
        )
    sha256 = write_hold_out(out, arrays)
    section = job.hold_out or HoldOutSection(sha256)
    named = dataclasses.replace(job, hold_out=dataclasses.replace(section, sha256=sha256))
    try:
        read_hold_out(out, named)  # what no run would take is not left behind
    except ConfigurationError:
        out.unlink(missing_ok=True)
        raise
    images, patients = len(arrays["images"]), int(arrays["patients"].max()) + 1
    if json_output:
        told = {"file": str(out), "sha256": sha256, "images": images, "patients": patients}
        sys.stdout.write(json.dumps(told, indent=1) + "\n")
        return
    console = Console()
    for line in (
        f"{out}: {images} images of {patients} patients. Name it in the job:",
        "",
        "[hold_out]",
        f'sha256 = "{sha256}"',
        "",
        f"and give it to a launch or a simulation: --hold-out {out}",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
