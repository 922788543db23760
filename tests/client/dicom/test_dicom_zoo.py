"""Real files of every kind: decoded to the published pixels, or refused where they cannot be.

`DICOM.md` of the data says which need a decoder under a licence that Fedward leaves out: 12-bit
JPEG is quarantined, and two lossy colour files differ by up to three levels.
"""

import csv
import hashlib
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicom.bounded_reading import read_header, read_instance
from fedward_client.dicom.decode_pool import Decoded, DecodeLimits, DecodePool
from fedward_client.dicom.pixel_decoding import image_values, stored_pixels

pytestmark = pytest.mark.real_data

LOSSY_COLOUR = frozenset({"image__examples_ybr_color.dcm", "phi__ctbrain1.dcm"})
CODE_OF_UNDECODABLE = {
    "codec__JPGExtended.dcm": "E_TRANSFER_SYNTAX",  # 12-bit JPEG
    "broken__JPEG-lossy.dcm": "E_TRANSFER_SYNTAX",  # likewise
    "broken__JPEG2000-embedded-sequence-delimiter.dcm": "E_IMAGE_UNREADABLE",
    "broken__MR_truncated.dcm": "E_IMAGE_UNREADABLE",
    "seg__liver_rle.dcm": "E_TRANSFER_SYNTAX",  # single bits in RLE
    "structure__no_meta.dcm": "E_NOT_DICOM",
    "structure__meta_missing_tsyntax.dcm": "E_TRANSFER_SYNTAX",
    "structure__OT-PAL-8-face.dcm": "E_TRANSFER_SYNTAX",
    "structure__badVR.dcm": "E_PIXEL_FORMAT",
    "structure__nested_priv_SQ.dcm": "E_PIXEL_FORMAT",
}
LIMITS = DecodeLimits(memory_bytes=2**30)

Row = Mapping[str, str]


@pytest.fixture(scope="module")
def zoo(data_root: Path) -> Path:
    return data_root / "dicom-zoo"


@cache
def rows_of(folder: Path) -> tuple[Row, ...]:
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


@pytest.fixture(scope="module")
def outcomes(zoo: Path) -> dict[str, "Decoded | UnusableCaseError"]:
    """Every file's stored pixels, or why there are none."""
    files = [row["file"] for row in rows_of(zoo)]
    orders = [("image", {"path": str(zoo / name), "transform": "stored"}) for name in files]
    with DecodePool(2, LIMITS) as pool:
        return dict(zip(files, pool.map(orders), strict=True))


def sha256_of(array: NDArray[np.generic]) -> str:
    little = array.astype(array.dtype.newbyteorder("<"))
    return hashlib.sha256(np.ascontiguousarray(little).tobytes()).hexdigest()


def is_as_published(found: Decoded, row: Row) -> bool:
    """Whether the pixels are those of the manifest, bit by bit where that can be."""
    if row["file"] in LOSSY_COLOUR:
        return True
    return sha256_of(found.array) == row["pixel_sha256(LE,C-order)"]


def is_published(row: Row) -> bool:
    return row["decode(pydicom3+pylibjpeg)"] == "ok"


def test_every_file_decodes_to_the_published_pixels_or_is_refused_by_its_code(
    zoo: Path, outcomes: Mapping[str, "Decoded | UnusableCaseError"]
) -> None:
    wrong = []
    for row in rows_of(zoo):
        name, found = row["file"], outcomes[row["file"]]
        expected = CODE_OF_UNDECODABLE.get(name)
        if expected is None and not is_published(row):
            expected = "E_NO_PIXEL_DATA"
        code = found.code if isinstance(found, UnusableCaseError) else None
        if code != expected:
            wrong.append((name, code, expected))
        elif isinstance(found, Decoded) and not is_as_published(found, row):
            wrong.append((name, "other pixels", ""))
    assert wrong == []
    assert len(outcomes) >= 70


def test_only_what_the_manifest_and_its_licence_note_say_is_refused(zoo: Path) -> None:
    undecodable = {r["file"] for r in rows_of(zoo) if not is_published(r)}
    assert set(CODE_OF_UNDECODABLE) - undecodable == {"codec__JPGExtended.dcm"}


def test_pixels_are_equal_across_codecs(
    zoo: Path, outcomes: Mapping[str, "Decoded | UnusableCaseError"]
) -> None:
    num_compared = 0
    for row in rows_of(zoo):
        if row["same_pixels_as"]:
            ours, theirs = outcomes[row["file"]], outcomes[row["same_pixels_as"]]
            assert isinstance(ours, Decoded) and isinstance(theirs, Decoded)
            np.testing.assert_array_equal(ours.array, theirs.array)
            num_compared += 1
    assert num_compared >= 8


@pytest.mark.parametrize("name", sorted(LOSSY_COLOUR))
def test_lossy_colour_is_within_3_levels_of_another_decoder(
    name: str, zoo: Path, outcomes: Mapping[str, "Decoded | UnusableCaseError"]
) -> None:
    from pydicom.pixels import get_decoder

    row = next(r for r in rows_of(zoo) if r["file"] == name)
    found = outcomes[name]
    assert isinstance(found, Decoded)
    dataset = read_instance(zoo / name)
    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    other, _ = decoder.as_array(dataset, raw=False, decoding_plugin="pillow")
    assert np.abs(found.array.astype(int) - other.astype(int)).max() <= 3
    assert abs(int(found.array.min()) - int(row["pixel_min"])) <= 3
    assert abs(int(found.array.max()) - int(row["pixel_max"])) <= 3


def test_values_are_rescaled_inverted_and_padded(zoo: Path) -> None:
    with DecodePool(limits=LIMITS) as pool:
        ct = pool.run("image", path=str(zoo / "seg__ct3slice_01.dcm"))
        assert ct.array.dtype == np.int16
        assert (ct.array.min(), ct.array.max()) == (-1024, 1381)  # padding of -2000 is gone
        assert ct.facts["spacing_mm"] == [0.810547, 0.810547]
        cr = pool.run("image", path=str(zoo / "image__77654033_CR1_6154"))
        stored = stored_pixels(read_instance(zoo / "image__77654033_CR1_6154")).astype(float)
        np.testing.assert_allclose(cr.array, (4095 - stored) * 0.684 + 200, rtol=1e-6)
        frame = pool.run("image", path=str(zoo / "codec__emri_small.dcm"), frame=3)
        assert frame.array.shape == (64, 64) and frame.facts["frames"] == 10
        palette = pool.run("image", path=str(zoo / "image__examples_palette.dcm"))
        assert palette.array.shape == (350, 800, 3) and palette.array.dtype == np.uint8


def needles_of(zoo: Path) -> set[str]:
    """Everything that says who a file is of."""
    found = {row["patient_name"] for row in rows_of(zoo)}
    found |= {part for name in found for part in name.split("^") if len(part) >= 4}
    expected = json.loads((zoo / "deid_expected.json").read_text(encoding="utf-8"))
    for one in expected.values():
        found |= set(one["needles"])
    for row in rows_of(zoo):
        try:
            header = read_header(zoo / row["file"], ["PatientID", "PatientName"])
            found |= {str(header.get("PatientID", "")), str(header.get("PatientName", ""))}
        except Exception:  # noqa: S112  # no needles in what cannot be read
            continue
    return {needle.casefold() for needle in found if len(needle.strip("^ ")) >= 4}


def run_all(zoo: Path, pool: DecodePool) -> Iterator[str]:
    """Everything that reads or decodes, on every file; gives every exception's text."""
    for path in sorted(zoo.iterdir()):
        for attempt in (
            lambda path=path: read_header(path),
            lambda path=path: read_header(path, ["PatientName", "Rows"]),
            lambda path=path: stored_pixels(read_instance(path)),
            lambda path=path: image_values(read_instance(path)),
            lambda path=path: image_values(read_instance(path), 0, apply_voi=True),
            lambda path=path: pool.run("image", path=str(path)),
        ):
            try:
                attempt()
            except UnusableCaseError as problem:
                yield f"{problem!s} {problem!r} {problem.__cause__!r} {problem.hint}"


def test_nothing_that_is_said_names_a_patient(
    zoo: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    needles = needles_of(zoo)
    assert {"simpson^homer^j^", "kaufman^scott", "6774825273", "compressedsamples^mr1"} <= needles
    caplog.clear()
    for name in ("", "pydicom", "gdcm", "highdicom"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    with (
        warnings.catch_warnings(record=True) as caught,
        caplog.at_level(logging.DEBUG),
        DecodePool(limits=LIMITS) as pool,
    ):
        warnings.simplefilter("always")
        texts = list(run_all(zoo, pool))
    texts += [f"{record.getMessage()} {record.exc_text}" for record in caplog.records]
    texts += [str(one.message) for one in caught]
    texts += list(capfd.readouterr())
    said = "\n".join(texts).casefold()
    assert [needle for needle in needles if needle in said] == []
    assert caught == [] and caplog.records == []
