"""Phantom hospitals on disk: what `fedward phantom` makes.

```
OUT/hospital-north/dicom/PATIENT/STUDY/SERIES/IMAGE.dcm
OUT/hospital-north/labels.csv       chest images, or CT series where these are alone
OUT/hospital-north/labels-ct.csv    CT series beside chest images
OUT/hospital-north/labels-*.csv     with faults: further label files, for what they show alone
OUT/hospital-north/masks/           with faults: masks that one of them names
OUT/hospital-north/expected_findings.json   with faults: what a check must say of them
OUT/preview.png                     some pictures of each hospital
```
The same arguments give the same bytes, and a hospital's depend on no other's number of patients.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fedward_common.errors import ConfigurationError
from fedward_server.simulation.phantom_archive_faults import add_archive_faults
from fedward_server.simulation.phantom_chest import deal_illness, draw_chests, split_patients
from fedward_server.simulation.phantom_chest_faults import add_chest_faults
from fedward_server.simulation.phantom_ct import draw_volume
from fedward_server.simulation.phantom_ct_faults import add_ct_faults
from fedward_server.simulation.phantom_faults import (
    FaultBook,
    expected_findings,
    findings_in_archive,
)
from fedward_server.simulation.phantom_files import (
    Archive,
    Kind,
    LabelRow,
    chest_drawn,
    ct_drawn,
    phantom_patient,
    phantom_study,
    write_label_file,
)
from fedward_server.simulation.phantom_hospitals import HOSPITALS, Hospital
from fedward_server.simulation.phantom_label_list import LabelList
from fedward_server.simulation.phantom_listed_by_file import list_by_file
from fedward_server.simulation.phantom_listed_otherwise import (
    list_by_accession,
    list_by_study,
    list_that_fits_nothing,
    second_delivery,
)
from fedward_server.simulation.phantom_picture_desk import PictureDesk
from fedward_server.simulation.phantom_preview import Preview

Kinds = Literal["chest", "ct", "both"]
DEFAULT_IMAGE_SIZE = 64
MIN_PATIENTS = 10
_IMAGE_SIZES = range(32, 2049)


@dataclass(frozen=True)
class PhantomOrder:
    """What to make.

    Args:
        patients_per_hospital: One number a hospital; of each kind, where both are asked for.
        kinds: X-ray-like images, CT-like series, or both in one archive.
        image_size: Pixels along each side of a picture.
        seed: Of everything random.
        quirks: Whether to add every fault that checks must find.

    Raises:
        ConfigurationError: A number cannot be met.
    """

    patients_per_hospital: tuple[int, ...] = (60, 40, 24)
    kinds: Kinds = "chest"
    image_size: int = DEFAULT_IMAGE_SIZE
    seed: int = 0
    quirks: bool = False

    def __post_init__(self) -> None:
        numbers = self.patients_per_hospital
        if not 1 <= len(numbers) <= len(HOSPITALS) or min(numbers) < MIN_PATIENTS:
            raise ConfigurationError(
                f"phantom hospitals of {numbers} patients cannot be made",
                hint=f"1 to {len(HOSPITALS)} hospitals of {MIN_PATIENTS} patients or more",
            )
        if self.image_size not in _IMAGE_SIZES:
            raise ConfigurationError(
                f"pictures of {self.image_size} pixels cannot be drawn",
                hint=f"{_IMAGE_SIZES[0]} to {_IMAGE_SIZES[-1]} pixels along a side",
            )


@dataclass(frozen=True)
class LabelFile:
    """One label file of a phantom hospital, and what it lists, faults apart."""

    path: Path
    kind: Kind
    num_patients: int
    num_cases: int
    num_with_lesion: int
    num_by_split: dict[str, int]


@dataclass(frozen=True)
class PhantomHospital:
    """One hospital as it was written."""

    hospital: Hospital
    folder: Path
    label_files: tuple[LabelFile, ...]
    num_files: int
    expected: dict[str, Any] | None

    @property
    def dicom_folder(self) -> Path:
        """Its archive."""
        return self.folder / "dicom"


def make_phantoms(folder: Path, order: PhantomOrder) -> list[PhantomHospital]:
    """Write all hospitals below `folder`."""
    preview = Preview()
    made = [
        _Maker(folder / hospital.name, hospital, place, order, preview).make(number)
        for place, (hospital, number) in enumerate(
            zip(HOSPITALS, order.patients_per_hospital, strict=False)
        )
    ]
    preview.write(folder / "preview.png")
    return made


@dataclass
class _Maker:
    """Makes one hospital; `place` is its place among them, part of the seed."""

    folder: Path
    hospital: Hospital
    place: int
    order: PhantomOrder
    preview: Preview

    def __post_init__(self) -> None:
        (self.folder / "dicom").mkdir(parents=True)
        self.archive = Archive(self.folder / "dicom")

    def make(self, num_patients: int) -> PhantomHospital:
        books: dict[str, FaultBook] = {}
        rows_of: dict[str, list[LabelRow]] = {}
        files = []
        kinds: tuple[Kind, ...] = ("chest", "ct")
        for kind in (k for k in kinds if self.order.kinds in (k, "both")):
            rows, num_ill = self._chest(num_patients) if kind == "chest" else self._ct(num_patients)
            name = "labels-ct.csv" if kind == "ct" and self.order.kinds == "both" else "labels.csv"
            books[name] = self._faults(kind)
            splits = dict(Counter(row.split for row in rows))
            path = self.folder / name
            files.append(LabelFile(path, kind, num_patients, len(rows), num_ill, splits))
            rows_of[name] = [*rows, *books[name].rows]
            write_label_file(self.folder / name, kind, rows_of[name])
        expected = self._expected(books, rows_of) if self.order.quirks else None
        return PhantomHospital(
            self.hospital, self.folder, tuple(files), self.archive.num_files, expected
        )

    def _chest(self, num_patients: int) -> tuple[list[LabelRow], int]:
        order, hospital = self.order, self.hospital
        rng = np.random.default_rng([order.seed, self.place])
        rows: list[LabelRow] = []
        visit, last = 0, -1
        for pictures in draw_chests(
            hospital.xray.scanner,
            num_patients,
            order.image_size,
            rng,
            prevalence=hospital.prevalence,
        ):
            for at, number in enumerate(pictures.patients.tolist()):
                visit, last = visit + 1 if number == last else 0, number
                patient = phantom_patient(hospital.short_name, number + 1)
                image, mask = pictures.images[at], pictures.masks[at]
                study = phantom_study(order.seed, patient, visit)
                drawn = chest_drawn(hospital.xray, patient, study, image, mask)
                self.archive.add(drawn)
                rows.append(drawn.row("chest", int(mask.any()), pictures.splits[at]))
                self.preview.add_chest(self.hospital.name, image, mask)
        return rows, sum(row.label == "lesion" for row in rows)

    def _ct(self, num_patients: int) -> tuple[list[LabelRow], int]:
        order, hospital = self.order, self.hospital
        rng = np.random.default_rng([order.seed, self.place, 1])
        ill = deal_illness(num_patients, hospital.prevalence, rng)
        splits = split_patients(ill, rng)
        rows: list[LabelRow] = []
        for number in range(num_patients):
            patient = phantom_patient(f"{hospital.short_name}-ct", number + 1)
            study = phantom_study(order.seed, patient, 0)
            volume = draw_volume(
                hospital.ct.scanner, ill=bool(ill[number]), image_size=order.image_size, rng=rng
            )
            drawn = ct_drawn(hospital.ct, patient, study, volume)
            self.archive.add(drawn)
            rows.append(drawn.row("ct", int(volume.mask.any()), splits[number]))
            self.preview.add_ct(self.hospital.name, volume)
        return rows, sum(row.label == "lesion" for row in rows)

    def _faults(self, kind: Kind) -> FaultBook:
        book = FaultBook(self.archive, kind)
        if self.order.quirks:
            add = add_chest_faults if kind == "chest" else add_ct_faults
            add(book, self.hospital, self.order.image_size, self.order.seed)
        return book

    def _expected(
        self, books: dict[str, FaultBook], rows_of: dict[str, list[LabelRow]]
    ) -> dict[str, Any]:
        """Add the faults that no image has, and write down what a check must say of them all."""
        archive = findings_in_archive(books.values(), add_archive_faults(self.archive.folder))
        lists = []
        if self.order.kinds != "ct":
            lists = self._further_lists(rows_of["labels.csv"], books["labels.csv"])
        for one in lists:
            one.write(self.folder)
        further = [entry for one in lists for entry in one.expected(archive)]
        expected = expected_findings(books, archive, further)
        text = json.dumps(expected, indent=1) + "\n"
        (self.folder / "expected_findings.json").write_text(text, encoding="utf-8")
        return expected

    def _further_lists(self, rows: list[LabelRow], book: FaultBook) -> list[LabelList]:
        order, archive = self.order, self.archive
        desk = PictureDesk.opened(
            self.hospital, order.image_size, order.seed, suffix="l", purpose=79
        )
        return [
            list_by_file(archive, desk),
            list_by_study(archive, desk),
            list_by_accession(archive, desk),
            second_delivery(rows, book),
            list_that_fits_nothing(self.hospital.name),
        ]


def patients_of(text: str, num_hospitals: int) -> tuple[int, ...]:
    """Read `--patients`: one number for every hospital, or one for each: `60,40,24`.

    Raises:
        ConfigurationError: It is something else.
    """
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) == 1:
        return numbers * num_hospitals
    if len(numbers) != num_hospitals:
        raise ConfigurationError(
            f"--patients {text!r} does not fit {num_hospitals} hospitals",
            hint="one number, or one for each hospital with commas between them",
        )
    return numbers


def summary_of(made: Sequence[PhantomHospital]) -> list[dict[str, object]]:
    """Give what `--json` prints."""
    return [
        {
            "hospital": one.hospital.name,
            "dicom": str(one.dicom_folder),
            "files": one.num_files,
            "label_files": [
                {
                    "path": str(file.path),
                    "kind": file.kind,
                    "patients": file.num_patients,
                    "cases": file.num_cases,
                    "with_lesion": file.num_with_lesion,
                    "splits": file.num_by_split,
                }
                for file in one.label_files
            ],
            "expected_findings": one.expected,
        }
        for one in made
    ]
