"""Counting what is left out, and refusing a cohort of which too much is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fedward_client.cohorts.cohort_file import SourceSettings
from fedward_client.cohorts.source import (
    E_COHORT_EMPTY,
    E_TOO_MANY_EXCLUDED,
    EXCLUDED_BY_LABEL,
    EXCLUDED_BY_REQUEST,
)
from fedward_common.errors import CohortError

MAX_LINES_KEPT = 20

_WANTED = (EXCLUDED_BY_LABEL, EXCLUDED_BY_REQUEST)


@dataclass
class ExclusionTally:
    """Exclusions of one cohort, by code and by source.

    Args:
        settings: The cohort's sources, in order; they are known by their place in it.
    """

    settings: Sequence[SourceSettings]
    counts: dict[str, int] = field(default_factory=dict)
    lines: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    _listed: dict[int, int] = field(default_factory=dict)
    _unusable: dict[int, int] = field(default_factory=dict)
    _wanted: dict[int, int] = field(default_factory=dict)

    def list_cases(self, source: int, num_listed: int) -> None:
        """Note how many lines of a source passed its filter."""
        self._listed[source] = num_listed

    def exclude(self, source: int, code: str, line: int) -> None:
        """Count one case out; the first 20 lines of each code are kept for the site's own eyes."""
        self.counts[code] = self.counts.get(code, 0) + 1
        by_kind = self._wanted if code in _WANTED else self._unusable
        by_kind[source] = by_kind.get(source, 0) + 1
        kept = self.lines.setdefault(code, [])
        if len(kept) < MAX_LINES_KEPT:
            kept.append((source, line))

    def require_usable(self) -> None:
        """Check that something is left, and of every source enough.

        Cases that a person excluded, by the labels table or by patient, count neither way.

        Raises:
            CohortError: `E_COHORT_EMPTY` or `E_TOO_MANY_EXCLUDED`.
        """
        excluded = sum(self._unusable.values()) + sum(self._wanted.values())
        if sum(self._listed.values()) <= excluded:
            raise CohortError(
                f"the cohort has no usable case; {self._told()}",
                hint="check filter, labels and paths of the cohort",
                code=E_COHORT_EMPTY,
            )
        for source, settings in enumerate(self.settings):
            bad = self._unusable.get(source, 0)
            num_cases = self._listed.get(source, 0) - self._wanted.get(source, 0)
            if bad > settings.max_excluded_share * num_cases:
                named = settings.manifest or settings.cohort
                raise CohortError(
                    f"{named}: {bad} of {num_cases} cases cannot be used; {self._told()}",
                    hint="correct these lines, or raise max_excluded_share = "
                    f"{settings.max_excluded_share} of this source",
                    code=E_TOO_MANY_EXCLUDED,
                )

    def _told(self) -> str:
        if not self.counts:
            return "no line passed the filter"
        return "; ".join(f"{code} {n} ({self._lines_of(code)})" for code, n in self.counts.items())

    def _lines_of(self, code: str) -> str:
        lines = [str(line) for _, line in self.lines[code][:5]]
        more = ", ..." if self.counts[code] > len(lines) else ""
        return f"line{'s' if self.counts[code] > 1 else ''} {', '.join(lines)}{more}"


def sorted_counts(counts: Mapping[str, int]) -> dict[str, int]:
    """Give the counts in the order of their codes."""
    return {code: counts[code] for code in sorted(counts)}
