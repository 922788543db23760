"""A cohort's report as one page of HTML with the patient flow as a picture; it loads nothing."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from fedward_client.cohorts.reports.report_commands import HIDDEN

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #1b2733; }
table { border-collapse: collapse; margin: 0 2rem 1.5rem 0; display: inline-table;
        vertical-align: top; }
caption { text-align: left; font-weight: 600; }
td { border-top: 1px solid #d5dde5; padding: .2rem .8rem .2rem 0; }
td + td { text-align: right; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; padding: .2rem .8rem .2rem 0; }
table.codes td + td { text-align: left; vertical-align: top; }
svg text { font: 14px system-ui, sans-serif; fill: #1b2733; }
rect { fill: #eef3f8; stroke: #5a7795; }
path { stroke: #5a7795; fill: none; }
"""
_POLICY = (
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
)
_LOST = (
    ("quarantined", "cannot be used"),
    ("excluded_by_label", "excluded by the mapping"),
    ("excluded_by_request", "excluded on request"),
)
_CODE_COLUMNS = ("code", "count", "lines", "meaning", "advice")
_BOX_WIDTH, _BOX_HEIGHT, _ROW = 260, 52, 84


def page_of(report: Mapping[str, Any]) -> str:
    """Write the page of a coordinator's or a local report."""
    title = f"Cohort {report['cohort']}"
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        _POLICY,
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(report['unit'])}s: {_shown(report['units'])}</p>",
        f"<p>Fingerprint {escape(report['fingerprint'][:16])}</p>",
        _flow(report),
        *(_table(name, cells) for name, cells in _tables(report)),
        _codes(report.get("codes", ())),
        f"<p>{escape(report.get('rules', 'For the hospital alone: exact counts.'))}</p>",
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _tables(report: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from report["tables"].items()
    if "codes" in report:
        return
    yield from ((f"{name}, mm", cells) for name, cells in report["spacing_mm"].items())


def _codes(codes: Sequence[Mapping[str, Any]]) -> str:
    """Draw a local report's codes as one table, empty text where there are none."""
    if not codes:
        return ""
    heads = "".join(f"<th>{one}</th>" for one in _CODE_COLUMNS)
    rows = "".join(f"<tr>{''.join(_code_cells(one))}</tr>" for one in codes)
    caption = "<caption>by code</caption>"
    return f'<table class="codes">{caption}<tr>{heads}</tr>{rows}</table>'


def _code_cells(code: Mapping[str, Any]) -> Iterator[str]:
    lines = ", ".join(map(str, code["lines"])) or "in the archive"
    for value in (code["code"], code["count"], lines, code["meaning"], code["advice"]):
        yield f"<td>{_shown(value)}</td>"


def _flow(report: Mapping[str, Any]) -> str:
    """Draw found, what was lost on the way, used, and the three splits."""
    flow, splits = report["flow"], report["tables"]["split"]
    left, right = 10, 10 + _BOX_WIDTH + 60
    bottom = _ROW * (len(_LOST) + 1)
    middle = left + _BOX_WIDTH // 2
    shapes = [
        _box(left, 10, "cases in the label file", flow["found"]),
        f'<path d="M{middle} {10 + _BOX_HEIGHT}V{bottom}"/>',
    ]
    for row, (key, words) in enumerate(_LOST, start=1):
        top = 10 + row * _ROW - _ROW // 4
        shapes.append(f'<path d="M{middle} {top + _BOX_HEIGHT // 2}H{right}"/>')
        shapes.append(_box(right, top, words, flow[key]))
    shapes.append(_box(left, bottom, "used", flow["used"]))
    unit = report["unit"]
    for place, split in enumerate(("train", "validation", "test")):
        x = left + place * (_BOX_WIDTH + 20)
        shapes.append(_box(x, bottom + _ROW, f"{split}, {unit}s", splits[split]))
        shapes.append(
            f'<path d="M{middle} {bottom + _BOX_HEIGHT}V{bottom + _ROW - 14}'
            f'H{x + _BOX_WIDTH // 2}V{bottom + _ROW}"/>'
        )
    width, height = 3 * (_BOX_WIDTH + 20) + 10, bottom + _ROW + _BOX_HEIGHT + 10
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="flow of cases">'
        f"{''.join(shapes)}</svg>"
    )


def _box(x: int, y: int, words: str, value: Any) -> str:
    return (
        f'<rect x="{x}" y="{y}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="6"/>'
        f'<text x="{x + 12}" y="{y + 21}">{escape(words)}</text>'
        f'<text x="{x + 12}" y="{y + 42}" font-weight="600">{_shown(value)}</text>'
    )


def _table(name: str, cells: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{escape(str(key))}</td><td>{_shown(value)}</td></tr>"
        for key, value in cells.items()
    )
    return f"<table><caption>{escape(name)}</caption>{rows}</table>"


def _shown(value: Any) -> str:
    return HIDDEN if value is None else escape(str(value))
