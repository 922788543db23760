"""The oracle: a patient at a time through plain autograd, clipped, added up."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from fedward_client.training.per_sample.clipping import PatientClipping
from fedward_client.training.per_sample.contributions import BatchLayout
from fedward_common.job.job_file import Job, job_from_table

Loss = Callable[[Tensor, Tensor], Tensor]

SMALL_MODELS: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "cnn": ("classification", (12, 16), {"width": 8, "blocks": 2}),
    "cnn 3-D": ("classification", (8, 4, 8), {"width": 8, "blocks": 2}),
    "cnn standardised": ("classification", (12, 16), {"width": 8, "blocks": 2,
                                                      "weight_standardisation": True}),
    "cnn standardised 3-D": ("classification", (8, 4, 8), {"width": 8, "blocks": 2,
                                                           "weight_standardisation": True}),
    "resnet18": ("classification", (32, 32), {}),
    "resnet18 standardised": ("classification", (8, 8), {"small_images": True,
                                                         "weight_standardisation": True}),
    "resnet18 small images 3-D": ("classification", (8, 8, 8), {"small_images": True}),
    "densenet121": ("classification", (32, 32), {}),
    "gabor": ("classification", (12, 16), {"scales": 2, "grid": 4}),
    "unet": ("segmentation", (16, 8), {"channels": (4, 8, 16)}),
    "unet 3-D": ("segmentation", (8, 8, 8), {"channels": (4, 8)}),
    "unet plain": ("segmentation", (8, 8), {"channels": (4, 8), "residual_units": 0}),
    "unet deep": ("segmentation", (12, 12), {"channels": (4, 8), "residual_units": 2,
                                             "strides": (3,)}),
}  # fmt: skip


def job_of(
    label: str,
    *,
    loss: dict[str, Any] | str = "cross-entropy",
    privacy: dict[str, Any] | None = None,
    num_classes: int = 3,
    multi_label: bool = False,
    frozen: tuple[str, ...] = (),
    **training: Any,
) -> Job:
    """Make a job for one of the small models."""
    kind, size, options = SMALL_MODELS[label]
    classes = [{"id": i, "name": f"class {i}"} for i in range(num_classes)]
    section = {"name": loss} if isinstance(loss, str) else loss
    defaults = {"local_steps": 1, "sampling_rate": 0.5, "loss": section}
    return job_from_table(
        {
            "job": {"name": "test", "rounds": 4},
            "task": {"kind": kind, "classes": classes, "multi_label": multi_label},
            "model": {"name": label.split()[0], "options": options, "frozen": frozen},
            "data": {"modality": "CT", "image_size": size},
            "training": defaults | training,
            "privacy": privacy or {"mechanism": "none"},
            "secure_aggregation": {"enabled": False},
        }
    )


def looped_sum(
    module: nn.Module,
    loss: Loss,
    batch: tuple[Tensor, Tensor],
    layout: BatchLayout,
    clipping_norm: float,
) -> tuple[dict[Parameter, Tensor], Tensor]:
    """Give the clipped sum, and each patient's norm."""
    trainable = [p for p in module.parameters() if p.requires_grad]
    sums = {p: torch.zeros_like(p) for p in trainable}
    norms = []
    for patient in range(layout.num_patients):
        images, targets = (values[patient :: layout.num_patients] for values in batch)
        of_views = loss(module(images), targets)
        gradients = torch.autograd.grad(of_views.mean(), trainable, materialize_grads=True)
        norm = torch.sqrt(sum((g.double().square().sum() for g in gradients), torch.zeros(())))
        norms.append(norm)
        for parameter, gradient in zip(trainable, gradients, strict=True):
            sums[parameter] += gradient * min(1.0, clipping_norm / max(float(norm), 1e-300))
    return sums, torch.stack(norms)


def clipped_sum(
    module: nn.Module,
    loss: Loss,
    batch: tuple[Tensor, Tensor],
    layout: BatchLayout,
    clipping_norm: float,
) -> tuple[dict[Parameter, Tensor], Tensor]:
    """Give ours, and who was within the norm."""
    sums: dict[Parameter, Tensor] = {}
    with PatientClipping(module) as clipping:
        within = clipping.add_clipped_sum(
            lambda: loss(module(batch[0]), batch[1]), layout, clipping_norm, sums
        )
    return sums, within


def assert_same_sums(
    ours: dict[Parameter, Tensor], expected: dict[Parameter, Tensor], tolerance: float = 1e-9
) -> None:
    """Compare relative to the largest value of the whole gradient."""
    scale = max(1e-6, *(float(values.abs().max()) for values in expected.values()))
    for parameter, values in expected.items():
        mine = ours.get(parameter, torch.zeros_like(values))
        assert float((mine - values).abs().max()) <= tolerance * scale
