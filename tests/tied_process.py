"""Processes of a test that end with it, also where it is killed."""

import os
import sys

_END_WITH_PARENT = "from fedward_client.daemon.end_with_parent import end_with_parent\n"

# Nobody ever writes to it; the system closes the end that is kept here with this process.
TIE, _KEPT = os.pipe()


def tied_command(main: str, *arguments: str) -> list[str]:
    """Give the command that runs a `main`; to be started with `TIE` as its standard input.

    Args:
        main: Module of a command line, such as `fedward_server.cli`.
        arguments: Of the command line.
    """
    code = f"{_END_WITH_PARENT}end_with_parent()\nfrom {main} import main\nmain()"
    return [sys.executable, "-c", code, *arguments]
