"""`fedward dicomize`, the hospitals' half: every site of a cohorts file becomes a DICOM hospital.

```
OUT/SITE/dicom/       images and masks
OUT/SITE/labels.csv   keyed by image or by series
OUT/register.sh       `fedward-site cohort add` for each site
OUT/cohorts.toml      the same sites, registered, for `fedward simulate`
```
A simulation calls this by name; the server never imports the client.
"""

import shlex
from pathlib import Path
from typing import Any

from fedward_client.cohorts.cohort_file import SourceSettings, read_cohort_tables
from fedward_client.cohorts.registered.registration import DEFAULT_MAX_EXCLUDED_SHARE
from fedward_client.dicomizing.dicomized_site import (
    DICOM_FOLDER,
    LABELS_FILE,
    DicomizedSite,
    Progress,
    dicomize_site,
    require_wrappable,
)
from fedward_common.job.job_file import Job
from fedward_common.toml_writing import toml_of

COHORT = "main"
JOB_FILE = "job.toml"
_HOMES = "homes"
_SCRIPT_HEAD = """#!/bin/sh
# Registers what `fedward dicomize` made, a home for each site; then
#   fedward simulate {job} --cohorts cohorts.toml --out OUT
# trains on it as on real hospitals.
set -e
cd "$(dirname "$0")"
"""


def dicomize(
    cohorts_table: object, data_root: Path, job: Job, out: Path, progress: Progress
) -> list[dict[str, Any]]:
    """Wrap all sites.

    Args:
        cohorts_table: The parsed cohorts file.
        data_root: The folder that its paths are relative to.
        job: What the images are for.
        out: An empty folder; its `job.toml` is for the caller to write.
        progress: Called with a site, the number of its cases done and of all.

    Returns:
        For each site what was made of it, plain values, and the command that registers it.

    Raises:
        ConfigurationError: The cohorts file cannot be used, or is DICOM already.
        CohortError: A source cannot be opened.
    """
    sources = read_cohort_tables(cohorts_table, data_root)
    for site, tables in sources.items():
        require_wrappable(site, tables)
    made = [
        (dicomize_site(out / site, site, tables, job, progress), tables)
        for site, tables in sources.items()
    ]
    commands = {one.site: _command(one, tables) for one, tables in made}
    lines = [shlex.join(command) for command in commands.values()]
    script = _SCRIPT_HEAD.format(job=JOB_FILE) + "\n".join(lines) + "\n"
    (out / "register.sh").write_text(script, encoding="utf-8")
    (out / "cohorts.toml").write_text(toml_of({"sites": _registered(made)}), encoding="utf-8")
    return [_summary(one, commands[one.site]) for one, _ in made]


def _command(made: DicomizedSite, tables: tuple[SourceSettings, ...]) -> list[str]:
    """Give the registration's command, paths relative to the output folder."""
    site = made.site
    share = max(table.max_excluded_share for table in tables)
    options = ["--unit", made.unit] if made.unit != "patient" else []
    if share != DEFAULT_MAX_EXCLUDED_SHARE:
        options += ["--max-excluded-share", str(share)]
    for value, meaning in made.label_values.items():
        options += ["--map", f"{value}={meaning}"]
    return [
        "fedward-site", "cohort", "add", COHORT,
        "--home", f"{_HOMES}/{site}",
        "--dicom", f"{site}/{DICOM_FOLDER}",
        "--labels", f"{site}/{LABELS_FILE}",
        "--task", JOB_FILE,
        "--min-patients", "1",
        *options,
    ]  # fmt: skip


def _registered(
    made: list[tuple[DicomizedSite, tuple[SourceSettings, ...]]],
) -> dict[str, dict[str, Any]]:
    return {
        one.site: {
            "source": "registered",
            "path": f"{_HOMES}/{one.site}",
            "cohort": COHORT,
            "max_excluded_share": max(table.max_excluded_share for table in tables),
        }
        for one, tables in made
    }


def _summary(made: DicomizedSite, command: list[str]) -> dict[str, Any]:
    return {
        "site": made.site,
        "unit": made.unit,
        "listed": made.num_listed,
        "cases": made.num_cases,
        "files": made.num_files,
        "excluded": dict(sorted(made.excluded.items())),
        "largest_error": made.largest_error,
        "register": command,
    }
