"""Options that many commands on a coordinator's home share."""

from pathlib import Path
from typing import Annotated

import typer

HomeOption = Annotated[
    Path,
    typer.Option(
        "--home",
        envvar="FEDWARD_COORDINATOR_HOME",
        show_default=False,
        help="Folder of everything that this coordinator keeps.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
