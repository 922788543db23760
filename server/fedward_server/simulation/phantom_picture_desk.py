"""Hands out chest pictures for faults, each of a patient who is nobody else's."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fedward_common.dicom_writing.headers import Patient, Study
from fedward_server.simulation.phantom_chest import draw_chests
from fedward_server.simulation.phantom_files import (
    Drawn,
    chest_drawn,
    phantom_patient,
    phantom_study,
)
from fedward_server.simulation.phantom_hospitals import Hospital

_NUM_PICTURES = 40


@dataclass
class PictureDesk:
    """Hands out pictures of healthy patients, 40 at most.

    Args:
        hospital: Whose machine takes them.
        seed: Of studies.
        prefix: Of patient ids, so that two desks have no patient in common.
        pictures: Image and mask of each.
        number: Of the patient who came last.
        visit: Of the picture that came last.
    """

    hospital: Hospital
    seed: int
    prefix: str
    pictures: Iterator[tuple[NDArray[np.uint16], NDArray[np.uint8]]]
    number: int = 0
    visit: int = 0

    @classmethod
    def opened(
        cls, hospital: Hospital, image_size: int, seed: int, *, suffix: str, purpose: int
    ) -> Self:
        """Open a desk; `suffix` tells its patients, `purpose` its random numbers from others'."""
        rng = np.random.default_rng([seed, len(hospital.name), purpose])
        healthy = draw_chests(hospital.xray.scanner, _NUM_PICTURES, image_size, rng, prevalence=0)
        pictures = (pair for some in healthy for pair in zip(some.images, some.masks, strict=True))
        return cls(hospital, seed, f"{hospital.short_name}-{suffix}", pictures)

    def patient(self) -> Patient:
        """Give the next patient."""
        self.number += 1
        return phantom_patient(self.prefix, self.number)

    def picture(self, patient: Patient | None = None, study: Study | None = None) -> Drawn:
        """Draw the next picture, of a new patient or of this one."""
        image, mask = next(self.pictures)
        patient = patient or self.patient()
        self.visit += 1
        study = study or phantom_study(self.seed, patient, self.visit)
        return chest_drawn(self.hospital.xray, patient, study, image, mask)
