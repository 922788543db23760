"""What a trained model says of one image or volume, on the image's own grid."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedward_client.cohorts.preprocessing import prepare_image, undo_fit
from fedward_client.cohorts.source import E_NON_FINITE_PIXELS, UnusableCaseError
from fedward_client.prediction.trained_model import TrainedModel
from fedward_common.errors import WeightsMismatchError
from fedward_common.job.job_file import TaskSection

if TYPE_CHECKING:
    from fedward_client.cohorts.source import FloatImage

_EVEN_ODDS = 0.5

Probabilities = NDArray[np.float32]
OneChannel = Callable[[Probabilities], Probabilities]


@dataclass(frozen=True)
class Classification:
    """Probabilities of one series.

    Args:
        probabilities: Of each class, by id.
        is_called: Whether each class is said to be there, at the model's operating threshold.
        thresholds: Of each class; None where the largest probability decides.
        num_images: Images whose probabilities were averaged.
    """

    probabilities: tuple[float, ...]
    is_called: tuple[bool, ...]
    thresholds: tuple[float | None, ...]
    num_images: int


def class_probabilities(model: TrainedModel, image: "FloatImage") -> Probabilities:
    """Classify one image or volume.

    Args:
        model: Of a classification.
        image: Shape (channels, *spatial), values as stored.

    Returns:
        Shape (num_classes,): summing to 1, or of a multi-label task each for itself.
    """
    return _probabilities(model, image)


def called_classes(model: TrainedModel, probabilities: Sequence[Probabilities]) -> Classification:
    """Average images of one series, and draw the line where the model draws it.

    Of two classes the second is called from its threshold on, else the first; of more the
    likeliest; in a multi-label task each from its own threshold on.
    """
    task = model.job.task
    mean = np.mean(np.asarray(probabilities, dtype=np.float64), axis=0)
    limits = _limits(model, task)
    if task.multi_label:
        called = [bool(p >= limit) for p, limit in zip(mean, limits, strict=True)]
    elif len(mean) == 2 and limits[1] is not None:
        called = [bool(mean[1] < limits[1]), bool(mean[1] >= limits[1])]
    else:
        called = [number == int(mean.argmax()) for number in range(len(mean))]
    return Classification(
        tuple(float(p) for p in mean), tuple(called), tuple(limits), len(probabilities)
    )


def _limits(model: TrainedModel, task: TaskSection) -> list[Any]:
    given = [model.thresholds.get(name) for name in task.class_names]
    if task.multi_label:
        return [_EVEN_ODDS if limit is None else limit for limit in given]
    return [None, given[1]] if len(given) == 2 else [None] * len(given)


def segment(
    model: TrainedModel, image: "FloatImage", onto: OneChannel | None = None
) -> NDArray[np.uint8]:
    """Segment one image or volume.

    Probabilities are brought back class by class, interpolated linearly, and the likeliest class is
    taken there; so edges are smoother than those of a mask enlarged afterwards.

    Args:
        model: Of a segmentation.
        image: Shape (channels, *spatial), values as stored.
        onto: Takes one class's probabilities from the grid of `image` to another.

    Returns:
        Class ids, shape (*spatial), or what `onto` makes of it; background where the model saw
        nothing.
    """
    fitted = _probabilities(model, image)
    best: Probabilities | None = None
    mask: NDArray[np.uint8] | None = None
    for number, channel in enumerate(fitted):
        padding = 1.0 if number == 0 else 0.0
        native = undo_fit(channel, image.shape[1:], model.job.data, padding)
        if onto is not None:
            native = onto(native)
        if best is None or mask is None:
            best, mask = native.copy(), np.zeros(native.shape, dtype=np.uint8)
            continue
        better = native > best
        mask[better] = number
        best[better] = native[better]
    if mask is None:
        raise WeightsMismatchError("the model has no classes", hint="copy its folder again")
    return mask


def _probabilities(model: TrainedModel, image: "FloatImage") -> Probabilities:
    import torch

    prepared = prepare_image(image, model.job.data)
    if not np.isfinite(prepared).all():
        raise UnusableCaseError(E_NON_FINITE_PIXELS)
    device = next(model.module.parameters()).device
    with torch.inference_mode():
        batch = torch.from_numpy(prepared[np.newaxis]).to(device)
        logits = model.module(batch).float()[0]
        shares = logits.sigmoid() if model.job.task.multi_label else logits.softmax(dim=0)
        result: Probabilities = shares.cpu().numpy()
    if not np.isfinite(result).all():
        raise WeightsMismatchError(
            "the model's answer is not finite", hint="its weights diverged; use another model"
        )
    return result
