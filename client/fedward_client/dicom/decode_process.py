"""One worker as its parent sees it: started, asked, timed, and ended."""

import contextlib
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicom.decode_worker import EXIT_OPERATION_MISSING
from fedward_client.dicom.decoded import Decoded, InstanceName
from fedward_client.dicom.order_wire import (
    READY,
    ConnectionEndedError,
    receive_message,
    send_message,
)
from fedward_common.errors import ConfigurationError

E_DECODER_CRASHED = "E_DECODER_CRASHED"
E_DECODER_MEMORY = "E_DECODER_MEMORY"
E_DECODER_TIMEOUT = "E_DECODER_TIMEOUT"
DECODER_CODES = frozenset({E_DECODER_CRASHED, E_DECODER_MEMORY, E_DECODER_TIMEOUT})

_WORKER_MODULE = "fedward_client.dicom.decode_worker"
_START_SECONDS = 120.0
_CODE_OF_SIGNAL: dict[int, str] = {
    signal.SIGXCPU: E_DECODER_TIMEOUT,
    signal.SIGKILL: E_DECODER_MEMORY,  # the system's, short of memory
}
_KINDS = "biuf"


class DecodeProcess:
    """A worker that is ready.

    Args:
        memory_bytes: Address space of the whole process.
        operations: What it can be asked for: name to `module:function`.

    Raises:
        ConfigurationError: It does not start, which no file is to blame for.
    """

    def __init__(self, memory_bytes: int, operations: Mapping[str, str]) -> None:
        self.num_orders = 0
        self._link, other = socket.socketpair()
        with other:
            setup = {
                "socket": other.fileno(),
                "memory_bytes": memory_bytes,
                "operations": dict(operations),
            }
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-s", "-m", _WORKER_MODULE, json.dumps(setup)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # decoders in C print what they like
                stderr=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
                env=_environment(),
                cwd="/",
            )
        self._require_ready()

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked again."""
        return self._process.returncode is None

    def ask(
        self,
        operation: str,
        arguments: Mapping[str, Any],
        *,
        cpu_seconds: float,
        wall_seconds: float,
        max_bytes: int,
    ) -> Decoded:
        """Give an order and wait for its array.

        Raises:
            UnusableCaseError: With the operation's code, or why the worker is gone.
            ConfigurationError: The worker cannot import the operation.
        """
        self.num_orders += 1
        deadline = time.monotonic() + wall_seconds
        order = {"operation": operation, "arguments": arguments, "cpu_seconds": cpu_seconds}
        try:
            send_message(self._link, order, deadline=deadline)
            answer = _Answer(max_bytes)
            header, _ = receive_message(self._link, deadline=deadline, room_for=answer.room_for)
        except TimeoutError:
            self.end()
            raise UnusableCaseError(E_DECODER_TIMEOUT) from None
        except (ConnectionEndedError, OSError):
            raise self._reason_of_end() from None
        except (ValueError, TypeError, KeyError, RecursionError):  # no answer of ours
            self.end()
            raise UnusableCaseError(E_DECODER_CRASHED) from None
        if answer.array is None:
            raise UnusableCaseError(str(header["code"]))
        return Decoded(answer.array, header["facts"], answer.read_from)

    def end(self) -> None:
        """End it at once; harmless where it has ended."""
        self._link.close()
        self._process.kill()
        self._process.wait()

    def kill(self) -> None:
        """Kill it, from any thread; the one that waits for its answer then ends it."""
        self._process.kill()

    def forget(self) -> None:
        """Let go of it without ending it: this process is a fork of its owner."""
        self._link.close()

    def _require_ready(self) -> None:
        ready: Mapping[str, Any] = {}
        with contextlib.suppress(ConnectionEndedError, OSError, ValueError):
            ready, _ = receive_message(self._link, deadline=time.monotonic() + _START_SECONDS)
        if ready != READY:
            self.end()
            raise ConfigurationError(
                "the process that decodes images does not start",
                hint="raise the limit of its memory, or install fedward[site] again",
            )

    def _reason_of_end(self) -> UnusableCaseError | ConfigurationError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=10)
        status = self._process.returncode
        self.end()
        if status == EXIT_OPERATION_MISSING:
            return ConfigurationError(
                "the process that decodes images lacks a library for this kind of file",
                hint="install fedward[site] again",
            )
        known = _CODE_OF_SIGNAL.get(-status) if status is not None and status < 0 else None
        return UnusableCaseError(known or E_DECODER_CRASHED)


class _Answer:
    """Makes room for an array, if its description is sound."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.array: NDArray[Any] | None = None
        self.read_from: tuple[InstanceName, ...] = ()

    def room_for(self, header: Mapping[str, Any]) -> memoryview | None:
        if "code" in header:
            return None
        dtype = np.dtype(str(header["dtype"]))
        shape = tuple(int(length) for length in header["shape"])
        if not isinstance(header["facts"], dict) or dtype.kind not in _KINDS or dtype.hasobject:
            raise ValueError("no array of numbers")
        if min(shape, default=0) < 1 or math.prod(shape) * dtype.itemsize > self._max_bytes:
            raise ValueError("no array within the limit")
        self.read_from = tuple(
            InstanceName(str(sop), str(series)) for sop, series in header["read_from"]
        )
        self.array = np.empty(shape, dtype=dtype)
        return self.array.reshape(-1).view(np.uint8).data


def _environment() -> dict[str, str]:
    """Give what an interpreter needs to find its modules, one thread, and nothing else."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    places = [os.path.abspath(place) for place in sys.path if place]  # noqa: PTH100
    return kept | {
        "PYTHONPATH": os.pathsep.join(places),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LC_ALL": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
    }
