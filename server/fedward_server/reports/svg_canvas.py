"""From a drawing on a matplotlib `Figure` to SVG text that sits inside an HTML page.

The same drawing gives the same bytes: no date, no random ids. Text stays text and takes the
page's font; colours of the palette become CSS variables with themselves as fallback, so the page
may offer a dark version. Ids carry the figure's key, so that several figures share one page.
Settings of matplotlib are changed inside one `with` only; pyplot is never imported.
"""

import html
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people with a colour vision deficiency can tell apart.
INK = "#1b2631"
MUTED = "#5d6b78"
GRID = "#dde3e8"
FEDERATED = "#0072b2"
POOLED = "#d55e00"
LOCAL = "#009e73"
EXTRA_1 = "#cc79a7"
EXTRA_2 = "#b07d00"
TRUTH = "#ffb000"
PREDICTION = "#56b4e9"

_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    FEDERATED: "--federated",
    POOLED: "--pooled",
    LOCAL: "--local",
    EXTRA_1: "--extra-1",
    EXTRA_2: "--extra-2",
}

# Untyped keys: matplotlib 3.11 declares them as literals, earlier versions as text.
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "text.usetex": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 12.0,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "axes.grid": False,
    "axes.titlesize": 12.0,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "path.simplify": True,
}

_TAG = re.compile(r"<[^>]+>")
_FONT = re.compile(r"font: [^;\"]*?([\d.]+px)[^;\"]*")
_FAMILY = re.compile(r"font-family: [^;\"]*;? ?")
_ID = re.compile(r'(\bid="|url\(#|href="#)')
_COLOUR = re.compile("|".join(map(re.escape, _VARIABLES)))
_SIZE = re.compile(r'\s(?:width|height)="[^"]*"')


@dataclass(frozen=True)
class SvgFigure:
    """A finished figure.

    Attributes:
        svg: One `<svg>` element, safe to put into HTML as it is.
        title: Its caption in a few words; plain text.
        description: What it shows, for those who cannot see it; plain text.
    """

    svg: str
    title: str
    description: str


def drawn(
    draw: Callable[["Figure"], None],
    *,
    size: tuple[float, float],
    key: str,
    title: str,
    description: str,
) -> SvgFigure:
    """Run a drawing on a new figure and give its SVG.

    Args:
        draw: Puts axes and marks on the figure.
        size: Width and height in units of 1/72 inch; text of 12 units is scaled with them.
        key: Prefix of every id, one a figure of the page; letters, digits and hyphens.
        title: Its caption in a few words.
        description: Alternative text.
    """
    import matplotlib
    from matplotlib.figure import Figure

    buffer = io.StringIO()
    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": key}):
        figure = Figure(figsize=(size[0] / 72, size[1] / 72), layout="constrained")
        draw(figure)
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    return SvgFigure(_page_ready(buffer.getvalue(), key, description), title, description)


def _page_ready(document: str, key: str, description: str) -> str:
    """Drop the XML prologue, then make every tag fit for the page; text is left alone."""
    element = document[document.index("<svg") :].rstrip()
    element = _TAG.sub(lambda tag: _tag_ready(tag.group(), key), element)
    label = html.escape(description, quote=True)
    head = _SIZE.sub("", element[: element.index(">")])
    return f'{head} role="img" aria-label="{label}"{element[element.index(">") :]}'


def _tag_ready(tag: str, key: str) -> str:
    tag = _FAMILY.sub("", _FONT.sub(r"font-size: \1", tag))
    tag = _ID.sub(rf"\g<1>{key}-", tag)
    return _COLOUR.sub(lambda colour: f"var({_VARIABLES[colour.group()]}, {colour.group()})", tag)
