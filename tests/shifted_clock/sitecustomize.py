"""Lets every process that has this folder on its PYTHONPATH read another time than the machine's.

The file that `SHIFTED_CLOCK_FILE` names holds by how many seconds, and is read at each question. C
libraries, such as that of TLS, and the system go by the machine's own clock.
"""

import datetime
import os
import time
from pathlib import Path
from typing import Any

_file = Path(os.environ["SHIFTED_CLOCK_FILE"])
_machines_seconds = time.time
_Machines = datetime.datetime


def _shifted_seconds() -> float:
    return _machines_seconds() + float(_file.read_text())


class _AnyDatetime(type):
    """Takes those for its instances that C libraries make."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _Machines)


class _Shifted(_Machines, metaclass=_AnyDatetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        return cls.fromtimestamp(_shifted_seconds(), tz)

    @classmethod
    def utcnow(cls) -> Any:
        return cls.fromtimestamp(_shifted_seconds(), datetime.UTC).replace(tzinfo=None)


time.time = _shifted_seconds
vars(datetime)["datetime"] = _Shifted
