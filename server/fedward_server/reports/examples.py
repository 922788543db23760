"""Example images for the report.

They are pixels of patients: only a simulation on data that its user holds may pass any.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class ExamplePrediction:
    """One image with what is known and what the model says about it.

    Attributes:
        site: Where the image comes from.
        title: A short caption.
        image: Grey values on any scale, shape (rows, columns).
        truth: Reference mask of class ids, same shape; None in classification.
        prediction: Predicted mask of class ids, same shape; None in classification.
        note: A line under the caption, such as `truth pneumonia, score 0.93`.

    Raises:
        ValueError: The image is not 2-D or empty, or a mask has another shape.
    """

    site: str
    title: str
    image: NDArray[np.float32]
    truth: NDArray[np.uint8] | None
    prediction: NDArray[np.uint8] | None
    note: str = ""

    def __post_init__(self) -> None:
        if self.image.ndim != 2 or self.image.size == 0:
            raise ValueError(
                f"an example image has shape {self.image.shape}, needed (rows, columns)"
            )
        for name, mask in (("truth", self.truth), ("prediction", self.prediction)):
            if mask is not None and mask.shape != self.image.shape:
                raise ValueError(f"{name} has shape {mask.shape}, the image {self.image.shape}")
