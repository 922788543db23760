"""`fedward phantom`: from options to hospitals on disk, with a table of them."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from fedward_server.empty_folder import claim_empty_folder


@dataclass(frozen=True)
class PhantomOptions:
    """The command's options; `patients` is one number, or one for each hospital."""

    out: Path
    hospitals: int
    patients: str
    kind: Literal["chest", "ct", "both"]
    image_size: int
    quirks: bool
    seed: int


def run_phantom(options: PhantomOptions, *, json_output: bool) -> None:
    """Make the hospitals and say what they hold.

    Raises:
        ConfigurationError: A number cannot be met, or the folder is not empty.
    """
    from fedward_server.simulation.phantom_writing import (
        PhantomOrder,
        make_phantoms,
        patients_of,
        summary_of,
    )

    order = PhantomOrder(
        patients_of(options.patients, options.hospitals),
        options.kind,
        options.image_size,
        options.seed,
        options.quirks,
    )
    claim_empty_folder(options.out)
    made = summary_of(make_phantoms(options.out, order))
    if json_output:
        sys.stdout.write(json.dumps(made, indent=1) + "\n")
        return
    console = Console()
    console.print(_table_of(made))
    console.print(f"Some of them, lesions outlined: {options.out / 'preview.png'}", soft_wrap=True)
    if options.quirks:
        console.print(
            "Faults come on top of these numbers; what a check must say of each label file stands "
            "in expected_findings.json.",
            highlight=False,
        )


def _table_of(made: list[dict[str, object]]) -> Table:
    table = Table(
        "hospital", "label file", "patients", "cases", "lesion", "train/val/test", "files",
        box=None, header_style="bold",
    )  # fmt: skip
    for one in made:
        files = one["label_files"]
        for file in files if isinstance(files, list) else ():
            splits = file["splits"]
            dealt = "/".join(str(splits.get(s, 0)) for s in ("train", "validation", "test"))
            cells = (Path(file["path"]).name, file["patients"], file["cases"])
            share = f"{100 * file['with_lesion'] / file['cases']:.0f} %"
            table.add_row(str(one["hospital"]), *map(str, cells), share, dealt, str(one["files"]))
    return table
