"""Processes of another release: those whose newest protocol is another, or whose suite is.

What a version means does not change with that: there is one so far.
"""

import sys
from pathlib import Path

from fedward_common.crypto import suite
from fedward_common.wire import messages

_FIRST = "from tests.other_protocol import be_of_release\n"
# They take the constants over as they are imported, so none may have been before.
_READERS = (
    "fedward_common.wire.protocol_versions",
    "fedward_common.wire.envelope",
    "fedward_common.wire.manifest",
    "fedward_common.secagg.rules",
)


def python_path(folder: Path, newest: int, spoken_suite: str = suite.SUITE) -> str:
    """Give the PYTHONPATH with which every process of Python is of another release.

    Args:
        folder: Where the module is written that Python imports first.
        newest: Version of the protocol.
        spoken_suite: Of algorithms.
    """
    folder.mkdir()
    last = f"be_of_release({newest}, {spoken_suite!r})\n"
    (folder / "sitecustomize.py").write_text(_FIRST + last)
    return f"{folder}:{Path(__file__).parents[1]}"


def be_of_release(newest: int, spoken_suite: str) -> None:
    """Let this process, which has only begun, speak other than its source says."""
    too_early = [name for name in _READERS if name in sys.modules]
    if too_early:
        sys.exit(f"{too_early} were imported before")
    messages.PROTOCOL_VERSION = newest
    suite.SUITE = spoken_suite
