"""Operations that go wrong; only tests give them to a pool."""

import ctypes
import os
import resource
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicom.decoded import Decoded

OPERATIONS = {
    name: f"tests.client.dicom.decoder_faults:{name}"
    for name in (
        "sound", "abort", "segfault", "spin", "hang", "fill", "leave", "too_much", "no_numbers",
        "no_array", "chatter", "write_file", "quote", "refuse", "limits", "environment", "leak",
        "spoilt", "killed_once",
    )
} | {"missing": "tests.client.dicom.no_such_module:nothing"}  # fmt: skip

_kept: list[Any] = []


def sound(number: int) -> Decoded:
    return Decoded(np.full((2, 3), number, dtype=np.int16), {"number": number, "pid": os.getpid()})


def abort() -> Decoded:
    os.abort()


def segfault() -> Decoded:
    ctypes.string_at(0)
    return sound(0)


def spin() -> Decoded:
    while True:
        pass


def hang() -> Decoded:
    reading, _writing = os.pipe()
    os.read(reading, 1)
    return sound(0)


def fill() -> Decoded:
    _kept.append(np.ones(2**40, dtype=np.uint8))
    return sound(0)


def leak() -> Decoded:
    """Needs 200 MiB, and holds them when it has ended."""
    _kept.append(np.ones(200 * 2**20, dtype=np.uint8))
    return sound(0)


def spoilt() -> Decoded:
    """Dies in a process that has done something before."""
    _kept.append(0)
    if len(_kept) > 1:
        os.abort()
    return Decoded(np.ones(1), {"pid": os.getpid()})


def killed_once(path: str) -> Decoded:
    """Is killed by the system, and not when it is asked again: the file is the sign."""
    if Path(path).exists():
        Path(path).unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return sound(1)


def leave() -> Decoded:
    sys.exit(0)


def too_much() -> Decoded:
    return Decoded(np.zeros(3_000_000, dtype=np.uint8), {})


def no_numbers() -> Decoded:
    return Decoded(np.array(["text"]), {})


def no_array() -> Decoded:
    return Decoded([1, 2], {})  # type: ignore[arg-type]


def chatter() -> Decoded:
    print("SECRET", flush=True)
    print("SECRET", file=sys.stderr, flush=True)
    os.write(1, b"SECRET")
    os.write(2, b"SECRET")
    warnings.warn("SECRET", stacklevel=1)
    return sound(1)


def write_file(path: str) -> Decoded:
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(b"x" * 100)
    return sound(1)


def quote() -> Decoded:
    raise ValueError("SECRET")


def refuse() -> Decoded:
    raise UnusableCaseError("E_MASK_VALUE")


def limits() -> Decoded:
    names = ("RLIMIT_AS", "RLIMIT_CORE", "RLIMIT_FSIZE", "RLIMIT_CPU")
    return Decoded(np.ones(1), {n: resource.getrlimit(getattr(resource, n))[0] for n in names})


def environment() -> Decoded:
    return Decoded(np.ones(1), {"names": sorted(os.environ), "folder": str(Path.cwd())})
