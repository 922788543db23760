"""`fedward demo`: DICOM phantom hospitals, registered as hospitals do it, and two jobs.

Jobs and cohorts are ordinary files in the demo's folder, and every step is the command that stands
above it, so whoever saw the demo has a place to begin from. `fedward-site` runs in processes of its
own: this side never reads an image.
"""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from rich.console import Console

from fedward_common.errors import CohortError
from fedward_common.toml_writing import toml_of
from fedward_server.empty_folder import claim_empty_folder
from fedward_server.simulation.command import SimulateOptions, simulate_options

_PATIENTS = (150, 100, 60)
_JOBS = {"detect": "demo_detect.toml", "outline": "demo_outline.toml"}
_SITE_COMMAND = "fedward_client"
_WHAT_A_JOB_DOES = {
    "detect": "They train together to say who has a lesion. No image leaves its hospital.",
    "outline": "They train together to outline each lesion.",
}


def run_demo(out: Path, *, json_output: bool) -> None:
    """Make three phantom hospitals, register their images, and train both demo jobs on them.

    Raises:
        ConfigurationError: The folder is not empty.
        CohortError: A hospital's command failed.
    """
    claim_empty_folder(out)
    demo = _Demo(out, Console(stderr=json_output), json_output)
    sites = demo.make_hospitals()
    demo.write_jobs(sites)
    demo.register(sites)
    demo.check(sites)
    results = {name: demo.simulate(name) for name in _JOBS}
    demo.step("Done. Open in a browser:")
    for name in _JOBS:
        demo.say(f"   {(out / name / 'report.html').resolve()}")
    if json_output:
        sys.stdout.write(json.dumps(results, indent=1) + "\n")


class _Demo:
    """Does the steps and counts them."""

    def __init__(self, out: Path, console: Console, json_output: bool) -> None:
        self._out = out
        self._console = console
        self._json_output = json_output
        self._number = 0

    def make_hospitals(self) -> dict[str, Path]:
        """Write the images; give each hospital's folder."""
        from fedward_server.simulation.phantom_writing import PhantomOrder, make_phantoms

        folder = self._out / "hospitals"
        patients = ",".join(str(number) for number in _PATIENTS)
        self.step("Three hospitals export their archives: DICOM images that Fedward draws itself.")
        self.say(f"fedward phantom --hospitals {len(_PATIENTS)} --patients {patients} "
                 f"--out {folder}")  # fmt: skip
        folder.mkdir()
        made = make_phantoms(folder, PhantomOrder(_PATIENTS))
        files = sum(one.num_files for one in made)
        self.say(f"{files} DICOM files; some of them, lesions outlined: {folder / 'preview.png'}")
        return {one.hospital.name: one.folder for one in made}

    def write_jobs(self, sites: dict[str, Path]) -> None:
        """Write the job files, and for each the cohorts file that names the registered cohorts."""
        for name, template in _JOBS.items():
            self._job(name).write_text(_template(template), encoding="utf-8")
            tables = {
                site: {"source": "registered", "path": f"sites/{site}", "cohort": name}
                for site in sites
            }
            self._cohorts(name).write_text(toml_of({"sites": tables}), encoding="utf-8")

    def register(self, sites: dict[str, Path]) -> None:
        """Let each hospital register its images for both jobs."""
        self.step("Each hospital registers its images and labels, for either job.")
        for site, folder in sites.items():
            for name in _JOBS:
                self._site_command(
                    site, "add", name,
                    "--dicom", str(folder / "dicom"),
                    "--labels", str(folder / "labels.csv"),
                    "--task", str(self._job(name)),
                )  # fmt: skip

    def check(self, sites: dict[str, Path]) -> None:
        """Let each hospital decode its images and say what is wrong with them."""
        self.step("Each hospital checks them: every image is decoded, once and for ever.")
        for site in sites:
            for name in _JOBS:
                self._site_command(site, "check", name)

    def simulate(self, name: str) -> dict[str, object]:
        """Train one job; give its result."""
        options = SimulateOptions(
            job_file=self._job(name),
            cohorts_file=self._cohorts(name),
            out=self._out / name,
            baselines=name == "detect",
        )
        self.step(_WHAT_A_JOB_DOES[name])
        self.say(f"fedward simulate {options.job_file} --cohorts {options.cohorts_file} "
                 f"--out {options.out}{' --baselines' if options.baselines else ''}")  # fmt: skip
        return simulate_options(options, table=self._console)

    def step(self, text: str) -> None:
        """Begin the next step."""
        self._number += 1
        self._console.print()
        self._console.print(f"[bold]Step {self._number}[/bold]")
        self.say(text)

    def say(self, text: str) -> None:
        """Print a line as it is."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _job(self, name: str) -> Path:
        return self._out / f"{name}.toml"

    def _cohorts(self, name: str) -> Path:
        return self._out / f"{name}.cohorts.toml"

    def _site_command(self, site: str, verb: str, name: str, *options: str) -> None:
        home = str(self._out / "sites" / site)
        arguments = ["cohort", verb, name, "--home", home, *options]
        self.say(f"fedward-site {shlex.join(arguments)}")
        _run_site_command(arguments, to_stderr=self._json_output)


def _run_site_command(arguments: Sequence[str], *, to_stderr: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-m", _SITE_COMMAND, *arguments],
        stdout=sys.stderr.fileno() if to_stderr else None,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        check=False,
    )
    if done.returncode:
        raise CohortError(
            f"fedward-site cohort {arguments[1]} ended with {done.returncode}",
            hint="its own message stands above",
        )


def _template(name: str) -> str:
    folder = resources.files("fedward_server").joinpath("job_templates")
    return folder.joinpath(name).read_text(encoding="utf-8")
