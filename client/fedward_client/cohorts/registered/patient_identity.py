"""Whether the label file and the headers mean the same patient.

Where both have ids and some agree, a line on which they differ most likely names the wrong image,
so it is refused, unless name, birth date and sex show one person with two ids. Where none agree,
the label file has ids of its own; they are taken, as long as no patient of the headers is given two
of them.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fedward_client.cohorts.findings import Finding

E_PATIENT_CONTRADICTS = "E_PATIENT_CONTRADICTS"
W_PATIENT_RENAMED = "W_PATIENT_RENAMED"


@dataclass(frozen=True)
class StatedPatient:
    """Who a line is about, by the label file and by the header; "" where one is silent."""

    line: int
    in_labels: str = field(repr=False)
    in_header: str = field(repr=False)
    person_key: str = field(repr=False)


def patient_findings(stated: Sequence[StatedPatient]) -> list[Finding]:
    """Compare the ids of all lines."""
    both = [one for one in stated if one.in_labels and one.in_header]
    differing = [one for one in both if one.in_labels != one.in_header]
    if not differing:
        return []
    if len(differing) < len(both):
        return list(_unexplained(both, differing))
    names: dict[str, set[str]] = defaultdict(set)
    for one in differing:
        names[one.in_header].add(one.in_labels)
    torn = [one for one in differing if len(names[one.in_header]) > 1]
    return [Finding(W_PATIENT_RENAMED), *(Finding(E_PATIENT_CONTRADICTS, o.line) for o in torn)]


def _unexplained(
    both: Sequence[StatedPatient], differing: Sequence[StatedPatient]
) -> Iterator[Finding]:
    persons: dict[str, set[str]] = defaultdict(set)
    for one in both:
        if one.in_labels == one.in_header and one.person_key:
            persons[one.in_header].add(one.person_key)
    for one in differing:
        if one.person_key not in persons[one.in_labels]:
            yield Finding(E_PATIENT_CONTRADICTS, one.line)
