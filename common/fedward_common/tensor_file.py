"""Named float32 vectors in a safetensors file, written without a copy and read only if unchanged.

The format is eight bytes of header length, a JSON header and the raw data
(https://github.com/huggingface/safetensors); the library reads it, and would copy a model to write.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from fedward_common.atomic_files import verify_file, write_atomically
from fedward_common.errors import CorruptFileError


def write_tensors(
    path: Path,
    tensors: Mapping[str, NDArray[np.float32]],
    metadata: Mapping[str, str],
    *,
    over: Path | None = None,
) -> str:
    """Write vectors atomically, perhaps `over` a file nobody needs; give the file's SHA-256."""
    return write_atomically(path, _blocks(tensors, metadata), over=over)


def _blocks(
    tensors: Mapping[str, NDArray[np.float32]], metadata: Mapping[str, str]
) -> Iterator[bytes | memoryview]:
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    offset = 0
    for name, tensor in tensors.items():
        end = offset + tensor.nbytes
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for tensor in tensors.values():
        yield np.ravel(tensor).data.cast("B")


def read_tensors(path: Path, expected_sha256: str) -> dict[str, NDArray[np.float32]]:
    """Read vectors back.

    Raises:
        CorruptFileError: The file is missing or not the one that was written.
    """
    verify_file(path, expected_sha256)
    try:
        return load_file(path)
    except (SafetensorError, ValueError) as error:
        raise CorruptFileError(f"{path} is no safetensors file") from error
