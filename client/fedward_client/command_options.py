"""Options that many commands of `fedward-site` share."""

from pathlib import Path
from typing import Annotated

import typer

HomeOption = Annotated[
    Path,
    typer.Option(
        "--home",
        envvar="FEDWARD_SITE_HOME",
        show_default=False,
        help="Folder of everything that this site keeps.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
