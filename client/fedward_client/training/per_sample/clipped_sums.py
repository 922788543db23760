"""The clipped sum of one step, in parts that fit the memory."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from fedward_client.training.local_training import TrainingData, masks_of
from fedward_client.training.per_sample.clipping import PatientClipping
from fedward_client.training.per_sample.contributions import BatchLayout
from fedward_client.training.per_sample.drawn_patients import DrawnPatients, PatientViews
from fedward_common.errors import TrainingError
from fedward_common.job.job_file import Job
from fedward_common.models.losses import build_loss

Gradients = dict[Parameter, Tensor]


class ClippedSums:
    """Sums the clipped gradients of drawn patients.

    Parts hold `training.physical_batch_size` images at most, views counted, but one patient at
    least. Where a GPU's memory does not do, parts become half as large and the step is begun
    again, so that nobody is added twice. Parts change a sum by rounding only (and which values
    dropout leaves out).

    Args:
        module: Entered by the caller as `clipping`; on `device`.
        clipping: Of the module.
        job: Loss, augmentation and size of parts.
        num_views: Views of each image, averaged before a patient's gradient is clipped.
        data: The training split.
        device: Where the module is.
    """

    def __init__(
        self,
        module: nn.Module,
        clipping: PatientClipping,
        job: Job,
        num_views: int,
        data: TrainingData,
        device: torch.device,
    ) -> None:
        section = job.training
        self._module, self._clipping, self._num_views = module, clipping, num_views
        self._loss: Callable[[Tensor, Tensor], Tensor] = build_loss(
            section.loss, job.task, partly_annotated=data.partly_annotated
        )
        targets = data.labels if job.task.kind == "classification" else masks_of(data)
        self._views = PatientViews(data, targets, num_views, section.augmentation, device)
        self._at_once = max(1, section.physical_batch_size // num_views)

    def of(self, drawn: DrawnPatients, clipping_norm: float) -> tuple[Gradients, int]:
        """Give the sum for each trainable parameter, and how many patients were within the norm.

        A parameter without an entry has a sum of zero. Neither may leave without noise.

        Raises:
            TrainingError: `OUT_OF_MEMORY`, not even one patient fits.
        """
        while True:
            try:
                return self._sum_in_parts(drawn, clipping_norm)
            except torch.OutOfMemoryError as error:
                if self._at_once == 1:
                    raise TrainingError(
                        "the device has too little memory for the views of one patient",
                        hint="fewer views, smaller images, or a smaller model",
                        code="OUT_OF_MEMORY",
                    ) from error
            # Out of the handler, so that the failed part's tensors are no longer held.
            self._at_once //= 2
            torch.cuda.empty_cache()

    def _sum_in_parts(self, drawn: DrawnPatients, clipping_norm: float) -> tuple[Gradients, int]:
        gradients: Gradients = {}
        num_within = torch.zeros((), dtype=torch.int64)
        for begin in range(0, drawn.num_patients, self._at_once):
            end = min(begin + self._at_once, drawn.num_patients)
            within = self._add_part(drawn, begin, end, clipping_norm, gradients)
            num_within = within.sum() + num_within.to(within.device)
        return gradients, int(num_within)

    def _add_part(
        self,
        drawn: DrawnPatients,
        begin: int,
        end: int,
        clipping_norm: float,
        gradients: Gradients,
    ) -> Tensor:
        images, targets = self._views.of(drawn, begin, end)
        return self._clipping.add_clipped_sum(
            lambda: self._loss(self._module(images), targets),
            BatchLayout(end - begin, self._num_views),
            clipping_norm,
            gradients,
        )
