"""`fedward demo`: phantom hospitals, two jobs, every step printed.

The jobs and cohorts are ordinary files in the demo's folder, and each run is the `fedward simulate`
that stands above it, so whoever saw the demo has a place to begin from.
"""

import json
import sys
from importlib import resources
from pathlib import Path

from rich.console import Console

from fedward_common.errors import ConfigurationError
from fedward_server.simulation.command import SimulateOptions, simulate_options

_PATIENTS = (150, 100, 60)
_JOBS = {"detect": "demo_detect.toml", "outline": "demo_outline.toml"}


def run_demo(out: Path, *, json_output: bool) -> None:
    """Make three phantom hospitals and train both demo jobs on them.

    Raises:
        ConfigurationError: The folder is not empty.
    """
    from fedward_server.simulation.phantoms import make_phantoms

    console = Console(stderr=json_output)
    if out.exists() and any(out.iterdir()):
        raise ConfigurationError(
            f"{out} is not empty", hint="remove it, or name another folder with --out"
        )
    data = out / "hospitals"
    data.mkdir(parents=True)
    _step(console, 1, f"Three hospitals with images of their own, drawn by Fedward: {data}")
    cohorts_file = make_phantoms(data, patients_per_hospital=_PATIENTS)
    results = {}
    for number, (name, template) in enumerate(_JOBS.items(), start=2):
        job_file = out / f"{name}.toml"
        job_file.write_text(_template(template), encoding="utf-8")
        options = SimulateOptions(
            job_file=job_file,
            cohorts_file=cohorts_file,
            data_root=data,
            out=out / name,
            baselines=name == "detect",
        )
        _step(console, number, f"fedward simulate {job_file} --cohorts {cohorts_file} "
              f"--out {options.out}{' --baselines' if options.baselines else ''}")  # fmt: skip
        results[name] = simulate_options(options, table=console)
    _step(console, len(_JOBS) + 2, "Done. Open in a browser:")
    for name in _JOBS:
        report = (out / name / "report.html").resolve()
        console.print(f"   {report}", highlight=False, soft_wrap=True, markup=False)
    if json_output:
        sys.stdout.write(json.dumps(results, indent=1) + "\n")


def _template(name: str) -> str:
    folder = resources.files("fedward_server").joinpath("job_templates")
    return folder.joinpath(name).read_text(encoding="utf-8")


def _step(console: Console, number: int, text: str) -> None:
    console.print()
    console.print(f"[bold]Step {number}[/bold]")
    console.print(text, markup=False, highlight=False, soft_wrap=True)
