"""The patients of one private step and their images.

Every patient is drawn independently, then one of its images; both come from the noise source. Torch
draws the augmentation, from seeds that the source gave and nobody keeps; on a CPU it uses 32 bits
of each. So independence between patients is exact for who is drawn and which image, and as good as
torch's generator for what a view looks like.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedward_client.training.augmentation import augment
from fedward_client.training.local_training import TrainingData
from fedward_common.errors import TrainingError
from fedward_common.job.job_file import AugmentationSection
from fedward_common.privacy.noise_source import NoiseSource, poisson_sample

IntArray = NDArray[np.int64]

PATIENTS_AT_A_SEED = 16
"""Augmented together. Fixed, so that the size of a part in memory changes no image."""


@dataclass(frozen=True)
class DrawnPatients:
    """One step's draw: an image of each drawn patient, and seeds for their views.

    Attributes:
        cases: Positions in the arrays, shape (num_patients,); one of each patient.
        seeds: One for each `PATIENTS_AT_A_SEED` of them.
    """

    cases: IntArray
    seeds: NDArray[np.uint64]

    @property
    def num_patients(self) -> int:
        """How many; must not leave the site."""
        return int(self.cases.size)


class PatientDraws:
    """Draws patients, and one image of each.

    Args:
        data: A site's training split.

    Raises:
        TrainingError: There is no patient, or one without images; code `NO_TRAINING_PATIENTS`.
    """

    def __init__(self, data: TrainingData) -> None:
        counts = np.array([len(cases) for cases in data.cases_by_patient], dtype=np.int64)
        if counts.size == 0 or counts.min() == 0:
            raise TrainingError(
                f"{counts.size} training patients, {int((counts == 0).sum())} of them without "
                "images; at least one is needed, each with an image",
                hint="look at the cohort's report: are all patients in other splits?",
                code="NO_TRAINING_PATIENTS",
            )
        self._counts: IntArray = counts
        self._first = np.cumsum(counts) - counts
        self._cases: IntArray = np.concatenate(list(data.cases_by_patient)).astype(np.int64)

    @property
    def num_patients(self) -> int:
        """Patients of the training split."""
        return int(self._counts.size)

    def draw(self, sampling_rate: float, noise: NoiseSource) -> DrawnPatients:
        """Draw each patient with probability `sampling_rate`; perhaps none."""
        patients = poisson_sample(noise, self.num_patients, sampling_rate)
        which = np.floor(noise.uniform(patients.size) * self._counts[patients]).astype(np.int64)
        num_seeds = -(-patients.size // PATIENTS_AT_A_SEED)
        seeds = np.frombuffer(noise.bytes(8 * num_seeds), dtype=np.uint64)
        return DrawnPatients(self._cases[self._first[patients] + which], seeds)


class PatientViews:
    """Images and targets of some of a step's patients, several views of each.

    Args:
        data: A site's training split.
        targets: Masks in segmentation, else labels.
        num_views: Views of each image.
        section: How views differ.
        device: Where to.
    """

    def __init__(
        self,
        data: TrainingData,
        targets: NDArray[np.uint8] | NDArray[np.int64] | NDArray[np.int8],
        num_views: int,
        section: AugmentationSection,
        device: torch.device,
    ) -> None:
        self._images, self._targets = data.images, targets
        self._are_masks = targets is data.masks
        self._num_views, self._section = num_views, section
        self._generator = torch.Generator(device)

    def of(self, drawn: DrawnPatients, begin: int, end: int) -> tuple[Tensor, Tensor]:
        """Give the views of patients `begin` to `end` of a draw.

        Returns:
            Images, shape (num_views * (end - begin), channels, *size), and targets in int64; view
            v of patient p stands at v * (end - begin) + p - begin.
        """
        parts = []
        for index in range(begin // PATIENTS_AT_A_SEED, -(-end // PATIENTS_AT_A_SEED)):
            first = index * PATIENTS_AT_A_SEED
            of_seed = self._at_seed(drawn, index)
            inside = slice(max(begin - first, 0), end - first)
            parts.append([values[:, inside] for values in of_seed])
        images, targets = (
            (values[0] if len(values) == 1 else torch.cat(values, dim=1)).flatten(0, 1)
            for values in zip(*parts, strict=True)
        )
        return images, targets

    def _at_seed(self, drawn: DrawnPatients, index: int) -> tuple[Tensor, Tensor]:
        """Views of the patients of one seed, shape (num_views, patients, ...)."""
        first = index * PATIENTS_AT_A_SEED
        cases = drawn.cases[first : first + PATIENTS_AT_A_SEED]
        device = self._generator.device
        images = self._repeated(torch.from_numpy(self._images[cases]).to(device))
        targets = self._repeated(torch.from_numpy(self._targets[cases]).to(device))
        self._generator.manual_seed(int(drawn.seeds[index] >> np.uint64(1)))
        masks = targets if self._are_masks else None
        images, masks = augment(images, masks, self._section, self._generator)
        targets = (targets if masks is None else masks).long()
        by_view = (self._num_views, cases.size)
        return images.view(*by_view, *images.shape[1:]), targets.view(*by_view, *targets.shape[1:])

    def _repeated(self, values: Tensor) -> Tensor:
        if self._num_views == 1:
            return values
        return values.repeat(self._num_views, *[1] * (values.ndim - 1))
