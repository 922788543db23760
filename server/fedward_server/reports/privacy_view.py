"""What a report shows of a private run: epsilon by site, who it protects, and whether it does.

Figures of single sites are there in a simulation alone: in a federation each ledger stays at home.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fedward_server.reports.figure_text import UNDEFINED, Result, count_text, finite


@dataclass(frozen=True)
class PrivacyRow:
    """What a run cost one unit of a site, by the site's own ledger."""

    site: str
    unit: str
    epsilon: str
    reserved: str
    delta: str
    noise_multiplier: str
    sampling_rate: str
    steps: str
    noise_drawn_on: str


_PLACES = {"cpu": "processor", "device": "GPU (weaker)"}


def is_private(result: Result) -> bool:
    """Say whether a mechanism of differential privacy was at work."""
    return ((result.get("privacy") or {}).get("mechanism") or "none") != "none"


def protects(result: Result) -> bool:
    """Say whether it was at work with noise that nobody can repeat."""
    return is_private(result) and bool((result.get("privacy") or {}).get("noise_is_private"))


def is_simulation(result: Result) -> bool:
    """Say whether one machine held all sites: figures and counts of single sites are known then."""
    sites = (result.get("sites") or {}).values()
    return bool(result.get("metrics_per_site")) or any(
        (about or {}).get("counts") for about in sites
    )


def privacy_rows(result: Result) -> tuple[PrivacyRow, ...]:
    """Give a row for each site whose ledger the result knows."""
    sites = (result.get("privacy") or {}).get("per_site") or {}
    return tuple(
        PrivacyRow(
            site,
            str(about.get("unit") or UNDEFINED),
            epsilon_text(about.get("epsilon")),
            epsilon_text(about.get("epsilon_reserved")),
            small_text(about.get("delta")),
            small_text(about.get("noise_multiplier"), digits=4),
            small_text(about.get("sampling_rate")),
            count_text(about.get("steps")),
            _PLACES.get(str(about.get("noise_drawn_on")), UNDEFINED),
        )
        for site, about in sorted(sites.items())
    )


def largest_epsilon(result: Result) -> str:
    """Give the epsilon that no unit of any site is above; a dash where none was recorded."""
    epsilon = (result.get("privacy") or {}).get("epsilon")
    values = epsilon.values() if isinstance(epsilon, Mapping) else [epsilon]
    numbers = [number for value in values if (number := finite(value)) is not None]
    return epsilon_text(max(numbers, default=None))


def privacy_line(result: Result) -> str:
    """Say in one line what differential privacy the run had; "" where nothing was recorded."""
    if not is_private(result):
        return "Privacy: no differential privacy" if result.get("privacy") else ""
    privacy = result["privacy"]
    line = (
        f"Privacy ({privacy['mechanism']}): epsilon {largest_epsilon(result)} at most for each "
        f"{privacy.get('unit') or 'image'}, at delta {small_text(privacy.get('delta'))}"
    )
    if privacy["mechanism"] == "joint":
        line += ", against whoever sees sums over all sites only"
    return line if protects(result) else f"{line}; its noise has a seed and protects nobody"


def epsilon_text(value: object) -> str:
    """Show an epsilon with three decimals; a dash if there is none."""
    number = finite(value)
    return UNDEFINED if number is None else f"{number:.3f}"


def small_text(value: object, digits: int = 3) -> str:
    """Show a number of any size; a dash if there is none."""
    number = finite(value)
    return UNDEFINED if number is None else f"{number:.{digits}g}"
