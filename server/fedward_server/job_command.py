"""`fedward job new` and `fedward job check`."""

import json
import sys
from importlib import resources
from pathlib import Path

from rich.console import Console

from fedward_common.errors import ConfigurationError
from fedward_common.job.job_file import read_job, table_of_job
from fedward_common.models.catalogue import check_model

TEMPLATES = {
    "classification": "classification.toml",
    "multi-label": "multi_label.toml",
    "segmentation": "segmentation.toml",
}


def template_text(task: str) -> str:
    """Give the commented job file of a kind of task.

    Raises:
        ConfigurationError: There is no such kind.
    """
    if task not in TEMPLATES:
        raise ConfigurationError(
            f"--task is {task!r}", hint=f"one of: {', '.join(sorted(TEMPLATES))}"
        )
    folder = resources.files("fedward_server").joinpath("job_templates")
    return folder.joinpath(TEMPLATES[task]).read_text(encoding="utf-8")


def write_new_job(file: Path, task: str) -> None:
    """Write the template; a file that is there is never overwritten.

    Raises:
        ConfigurationError: The file exists, or its folder does not.
    """
    text = template_text(task)
    try:
        with file.open("x", encoding="utf-8") as target:
            target.write(text)
    except FileExistsError as error:
        raise ConfigurationError(
            f"{file} exists", hint="choose another name, or remove it first"
        ) from error
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror}", hint="check the folder") from error
    Console().print(
        f"Wrote {file}. Edit it, then: fedward job check {file}", markup=False, highlight=False
    )


def show_job(file: Path, *, json_output: bool) -> None:
    """Check a job and print it resolved.

    Raises:
        ConfigurationError: One line with the key's name, and a hint.
    """
    job = read_job(file)
    check_model(job)
    table = table_of_job(job)
    if json_output:
        sys.stdout.write(json.dumps(table, indent=1) + "\n")
        return
    console = Console()
    for section, keys in table.items():
        console.print(f"[bold]\\[{section}][/bold]")
        for key, value in keys.items():
            console.print(f"  {key} = {json.dumps(value)}", markup=False, highlight=False)
    console.print("\nThe job is valid.", highlight=False)
