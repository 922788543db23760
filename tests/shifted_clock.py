"""Processes that read another time than the machine's, by a number of seconds in a file.

The file is read at each question for the time, so a test can set a clock while it goes. C
libraries, such as that of TLS, and the system go by the machine's own clock.
"""

import datetime
import time
from pathlib import Path
from typing import Any

_FIRST = "from pathlib import Path\nfrom tests.shifted_clock import shift_this_process\n"
_machines_seconds = time.time
_Machines = datetime.datetime


def python_path(folder: Path, seconds_file: Path) -> str:
    """Give the PYTHONPATH with which every process of Python is shifted from its start.

    Args:
        folder: Where the module is written that Python imports first.
        seconds_file: How far ahead the clock is, in seconds.
    """
    folder.mkdir()
    last = f"shift_this_process(Path({str(seconds_file)!r}))\n"
    (folder / "sitecustomize.py").write_text(_FIRST + last)
    return f"{folder}:{Path(__file__).parents[1]}"


def shift_this_process(seconds_file: Path) -> None:
    """Let this process read the shifted time from now on."""

    def shifted_seconds() -> float:
        return _machines_seconds() + float(seconds_file.read_text())

    class Shifted(_Machines, metaclass=_AnyDatetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return cls.fromtimestamp(shifted_seconds(), tz)

        @classmethod
        def utcnow(cls) -> Any:
            return cls.fromtimestamp(shifted_seconds(), datetime.UTC).replace(tzinfo=None)

    time.time = shifted_seconds
    vars(datetime)["datetime"] = Shifted


class _AnyDatetime(type):
    """Takes those for its instances that C libraries make."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _Machines)
