"""One example image as SVG, with the outlines of the reference and of the prediction.

The reference is a solid line, the prediction a dashed one, so that they differ without colour.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedward_server.reports.examples import ExamplePrediction
from fedward_server.reports.svg_canvas import PREDICTION, TRUTH, SvgFigure, drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MAX_PIXELS = 320
_WIDTH = 216.0


def example_figure(example: ExamplePrediction, *, key: str) -> SvgFigure:
    """Draw an example; images beyond 320 pixels a side are thinned to keep the page small."""
    step = -(-max(example.image.shape) // _MAX_PIXELS)
    image = _grey_levels(example.image[::step, ::step])

    def draw(figure: "Figure") -> None:
        figure.set_layout_engine("none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="none")
        axes.set_axis_off()
        _draw_outlines(axes, example.truth, step, TRUTH, "solid")
        _draw_outlines(axes, example.prediction, step, PREDICTION, "dashed")

    rows, columns = image.shape
    size = (_WIDTH, _WIDTH * min(max(rows / columns, 0.25), 4.0))
    text = _description(example)
    return drawn(draw, size=size, key=key, title=example.title, description=text)


def _grey_levels(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Map the 0.5th to 99.5th percentile to 0..1; what is not finite becomes black."""
    known = image[np.isfinite(image)]
    low, high = np.percentile(known, (0.5, 99.5)) if known.size else (0.0, 1.0)
    span = high - low if high > low else 1.0
    levels = np.clip((np.nan_to_num(image, nan=low, posinf=high, neginf=low) - low) / span, 0, 1)
    return levels.astype(np.float32)


def _draw_outlines(
    axes: "Axes", mask: NDArray[np.uint8] | None, step: int, colour: str, dashes: str
) -> None:
    """Outline every class but the background, 0."""
    if mask is None:
        return
    thinned = np.pad(mask[::step, ::step], 1)
    rows, columns = thinned.shape
    # The frame of background closes the outline of a structure that touches the border.
    x, y = np.arange(columns) - 1, np.arange(rows) - 1
    for class_id in np.unique(thinned[thinned > 0]):
        inside = (thinned == class_id).astype(np.float32)
        axes.contour(
            x, y, inside, levels=[0.5], colors=[colour], linestyles=[dashes], linewidths=1.6
        )
    axes.set(xlim=(-0.5, columns - 2.5), ylim=(rows - 2.5, -0.5))


def _description(example: ExamplePrediction) -> str:
    shown = [f"Image of {example.site}: {example.title}"]
    if example.truth is not None:
        shown.append("reference outlined by a solid line")
    if example.prediction is not None:
        shown.append("prediction outlined by a dashed line")
    return "; ".join(shown)
