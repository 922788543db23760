"""The process that decodes, one order after the other, until whoever asks is gone.

Native decoders may crash, hang, write anywhere in their memory, or ask for all there is; here that
costs one order. The process can hold no more memory and use no more processor time than it was
told, writes no file and no core dump, and has nowhere to print to. Orders and answers are a length,
JSON, and for an answer the raw values of one array.

Run by `decode_pool` as `python -m fedward_client.dicom.decode_worker SETUP`.
"""

import contextlib
import fcntl
import importlib
import json
import math
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fedward_client.cohorts.source import (
    E_IMAGE_UNREADABLE,
    E_MASK_UNREADABLE,
    UnusableCaseError,
)
from fedward_client.dicom.decoded import Decoded
from fedward_client.dicom.order_wire import (
    READY,
    ConnectionEndedError,
    receive_message,
    send_message,
)

E_DECODER_MEMORY = "E_DECODER_MEMORY"

OPERATIONS: dict[str, str] = {
    "image": "fedward_client.dicom.image_decoding:decode_image",
    "series": "fedward_client.dicom.series_volume:decode_series",
    "mask-seg": "fedward_client.dicom.segment_masks:decode_seg_mask",
    "mask-rtstruct": "fedward_client.dicom.contour_masks:decode_rtstruct_mask",
    "mask-volume": "fedward_client.dicom.volume_masks:decode_volume_mask",
    "mask-picture": "fedward_client.dicom.picture_masks:decode_picture_mask",
}

EXIT_OPERATION_MISSING = 78

Operation = Callable[..., Decoded]


def main(setup_text: str) -> None:
    """Serve orders; returns when the other side closes its end.

    Args:
        setup_text: JSON: `socket` (file number), `memory_bytes`, `operations` (name to
            `module:function`).
    """
    setup = json.loads(setup_text)
    _limit_process(int(setup["memory_bytes"]))
    operations: Mapping[str, str] = setup["operations"]
    with socket.socket(fileno=int(setup["socket"])) as link:
        import numpy  # noqa: F401  # loaded before it is said that all is well
        import pydicom.pixels  # noqa: F401

        with contextlib.suppress(ConnectionEndedError, OSError):
            send_message(link, READY)
            while True:
                order, _ = receive_message(link)
                _answer(link, order, operations)


def _limit_process(memory_bytes: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal; the other side hears it too
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump would hold patient data
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


def _answer(link: socket.socket, order: Mapping[str, Any], operations: Mapping[str, str]) -> None:
    name = str(order["operation"])
    _allow_processor_time(float(order["cpu_seconds"]))
    operation = _operation(operations[name])
    try:
        with _ended_with_the_other_side(link):
            decoded = operation(**order["arguments"])
            header, values = _packed(decoded)
    except UnusableCaseError as problem:
        header, values = {"code": problem.code}, None
    except MemoryError:
        header, values = {"code": E_DECODER_MEMORY}, None
    except Exception:  # decoders raise anything on damaged files, and quote the header
        is_mask = name.startswith("mask")
        header, values = {"code": E_MASK_UNREADABLE if is_mask else E_IMAGE_UNREADABLE}, None
    send_message(link, header, values)


def _operation(place: str) -> Operation:
    module, _, function = place.partition(":")
    try:
        found: Operation = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError):
        os._exit(EXIT_OPERATION_MISSING)  # a broken installation is no broken file
    return found


def _packed(decoded: Decoded) -> tuple[dict[str, Any], memoryview]:
    import numpy as np

    array = np.ascontiguousarray(decoded.array)
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    header = {
        "dtype": array.dtype.str,
        "shape": decoded.array.shape,
        "facts": dict(decoded.facts),
        "read_from": decoded.read_from,
    }
    return header, array.reshape(-1).view(np.uint8).data


def _allow_processor_time(seconds: float) -> None:
    """Let the process use so much more; beyond that the system ends it."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    limit = math.ceil(usage.ru_utime + usage.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


@contextlib.contextmanager
def _ended_with_the_other_side(link: socket.socket) -> Iterator[None]:
    """Inside, the end of the connection ends this process, even in the middle of a decoder.

    The system sends SIGIO, which nobody handles. Nothing else comes in before the answer is out.
    """
    flags = fcntl.fcntl(link, fcntl.F_GETFL)
    fcntl.fcntl(link, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(link, fcntl.F_SETFL, flags | os.O_ASYNC)
    hang_up = select.poll()
    hang_up.register(link, 0)
    if hang_up.poll(0):  # it ended before the signal was asked for
        os._exit(0)
    try:
        yield
    finally:
        fcntl.fcntl(link, fcntl.F_SETFL, flags)


if __name__ == "__main__":
    main(sys.argv[1])
