"""Damaged compressed pixels, through the real decoders, in workers."""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.client.cohorts.small_cohorts import dicom_bytes
from tests.client.dicom.made_files import (
    JPEG,
    JPEG_2000,
    JPEG_LS,
    RLE,
    compressed,
    gradient,
)

from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicom.decode_pool import Decoded, DecodeLimits, DecodePool

CODES = {
    "E_IMAGE_UNREADABLE",
    "E_DECODER_CRASHED",
    "E_DECODER_MEMORY",
    "E_DECODER_TIMEOUT",
    "E_HEADER_UNREADABLE",
}
LIMITS = DecodeLimits(memory_bytes=2**30, cpu_seconds=20.0)


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    with DecodePool(2, LIMITS) as made:
        yield made


def damaged(content: bytes, rng: random.Random, kind: str) -> bytes:
    """Cut the stream, exchange single bytes of it, or overwrite a stretch."""
    begin = content.index(b"\xe0\x7f\x10\x00") + 24
    changed = bytearray(content)
    if kind == "cut":  # all lengths stay true: bytes become zeros
        place = rng.randrange(begin, len(content) - 8)
        changed[place : len(content) - 8] = bytes(len(content) - 8 - place)
    elif kind == "flip":
        for _ in range(8):
            changed[rng.randrange(begin, len(content) - 8)] ^= 1 << rng.randrange(8)
    else:
        place = rng.randrange(begin, len(content) - 40)
        changed[place : place + 32] = rng.randbytes(32)
    return bytes(changed)


@pytest.mark.parametrize("syntax", [JPEG, JPEG_LS, JPEG_2000, RLE])
def test_a_damaged_stream_gives_an_image_or_a_code(
    syntax: str, pool: DecodePool, tmp_path: Path
) -> None:
    require_image_or_code(compressed(gradient("uint8", 48), syntax), syntax, pool, tmp_path)


# nothing here can write these two, so real ones are damaged
@pytest.mark.real_data
@pytest.mark.parametrize(
    "name", ["codec__HTJ2K_08_RGB.dcm", "codec__JPGLosslessP14SV1_1s_1f_8b.dcm"]
)
def test_a_damaged_stream_of_the_zoo_gives_an_image_or_a_code(
    name: str, pool: DecodePool, tmp_path: Path, data_root: Path
) -> None:
    content = (data_root / "dicom-zoo" / name).read_bytes()
    require_image_or_code(content, name, pool, tmp_path)


def require_image_or_code(content: bytes, seed: str, pool: DecodePool, tmp_path: Path) -> None:
    rng = random.Random(seed)
    sound = tmp_path / "sound"
    sound.write_bytes(content)
    paths = [sound]
    for number, kind in enumerate(["cut", "cut", "flip", "flip", "flip", "noise", "noise"]):
        paths.append(tmp_path / str(number))
        paths[-1].write_bytes(damaged(content, rng, kind))
    paths.append(sound)
    answers = list(pool.map(("image", {"path": str(path)}) for path in paths))
    first, last = answers[0], answers[-1]
    assert isinstance(first, Decoded) and isinstance(last, Decoded)
    for answer in answers:
        if isinstance(answer, UnusableCaseError):
            assert answer.code in CODES
        else:
            assert answer.array.shape == first.array.shape
    assert any(
        isinstance(answer, UnusableCaseError) or not np.array_equal(answer.array, first.array)
        for answer in answers[1:-1]
    )
    np.testing.assert_array_equal(first.array, last.array)


def test_a_stream_that_asks_for_a_huge_image_is_refused_before_its_decoder(
    pool: DecodePool, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    content = compressed(gradient("uint8", 48), JPEG_2000)
    size = content.index(b"\xff\x4f\xff\x51") + 8
    path.write_bytes(content[:size] + b"\x00\x00\xff\xff" * 2 + content[size + 8 :])
    with pytest.raises(UnusableCaseError, match="E_IMAGE_UNREADABLE"):
        pool.run("image", path=str(path))


def test_an_image_that_needs_more_memory_than_allowed_costs_itself(tmp_path: Path) -> None:
    big, small = tmp_path / "big", tmp_path / "small"
    big.write_bytes(dicom_bytes(np.zeros((8000, 5000), dtype=np.uint16)))
    small.write_bytes(dicom_bytes(gradient()))
    with DecodePool(limits=DecodeLimits(memory_bytes=300 * 2**20)) as pool:
        with pytest.raises(UnusableCaseError, match="E_DECODER_MEMORY"):
            pool.run("image", path=str(big))
        assert pool.run("image", path=str(small)).array.shape == (32, 32)
