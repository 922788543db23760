"""Who took part in which round, and what kept the others away, grouped for reading."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from fedward_server.reports.figure_text import Result

_MEANINGS = {
    "NON_FINITE": "the update held NaN or infinity and was not used",
    "TRAINING_FAILED": "local training could not be carried out",
    "COHORT_UNUSABLE": "the site's data could not be used",
    "WEIGHTS_MISMATCH": "the weights did not fit the model",
    "MALFORMED_MESSAGE": "the reply could not be read",
    "UNVERIFIED_MESSAGE": "the reply was not signed by the site, or belonged elsewhere",
    "QUORUM_NOT_REACHED": "too few sites contributed",
    "FAILED": "an unexpected error",
    "INTERNAL_ERROR": "an unexpected error",
    "LATE": "no answer came before the deadline",
    "NODE_UNAVAILABLE": "the site was not connected",
    "UNEXPECTED_ANSWER": "the answer was of another kind than asked for",
    "REPLAY": "the answer belonged to another request",
    "EXCLUDED_BY_LABEL": "the cohort file leaves this label out",
    "E_FILE_NOT_FOUND": "the file is not there",
    "E_IMAGE_SHAPE": "the image has another number of dimensions or channels",
    "E_IMAGE_TOO_LARGE": "the image is larger than allowed",
    "E_IMAGE_UNREADABLE": "the image could not be read",
    "E_LABEL_UNMAPPED": "the label has no agreed class",
    "E_LABEL_VALUE": "the label is no class of the task",
    "E_MASK_GEOMETRY": "mask and image do not lie in the same place",
    "E_MASK_SHAPE": "mask and image differ in size",
    "E_MASK_UNREADABLE": "the mask could not be read",
    "E_MASK_VALUE": "the mask holds a value that is no class",
    "E_NON_FINITE_PIXELS": "the image holds NaN or infinity",
    "E_NO_TRAINING_PATIENTS": "no patient with a label is in the training split",
    "E_PATIENT_MISSING": "no patient was named",
    "E_PATIENT_IN_TWO_SPLITS": "the patient stands in two splits",
    "E_SPLIT_VALUE": "the split is not known",
}


@dataclass(frozen=True)
class SiteAttendance:
    """One site's rounds: how many it contributed to and which it missed."""

    site: str
    num_contributed: int
    missed: tuple[int, ...]

    @property
    def missed_text(self) -> str:
        """The missed rounds as ranges; empty where there are none."""
        return range_text(self.missed)


@dataclass(frozen=True)
class FailureGroup:
    """One site's failures of one code."""

    site: str
    code: str
    rounds: tuple[int, ...]
    count: int

    @property
    def rounds_text(self) -> str:
        """The rounds as ranges."""
        return range_text(self.rounds)

    @property
    def meaning(self) -> str:
        """The code in plain words; empty for a code without an entry."""
        return code_meaning(self.code)


def code_meaning(code: str) -> str:
    """Explain a code in plain words; empty for one that is not known here."""
    return _MEANINGS.get(code, "")


def range_text(numbers: Iterable[int]) -> str:
    """Write numbers as ranges: 1, 2, 3, 7 becomes `1 to 3, 7`."""
    ranges: list[list[int]] = []
    for number in sorted(set(numbers)):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ", ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in ranges)


def attendance(result: Result) -> tuple[SiteAttendance, ...]:
    """Count each site's rounds, in the order in which the result names the sites."""
    rounds = [set(sites) for sites in result.get("participants") or []]
    named = dict.fromkeys(result.get("sites") or {})
    named.update(dict.fromkeys(sorted(set().union(*rounds))))
    return tuple(
        SiteAttendance(
            site,
            sum(site in present for present in rounds),
            tuple(number for number, present in enumerate(rounds, 1) if site not in present),
        )
        for site in named
    )


def failure_groups(result: Result) -> tuple[FailureGroup, ...]:
    """Group failures by site and code, the most frequent first."""
    counts: Counter[tuple[str, str]] = Counter()
    rounds: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for failure in result.get("failures") or []:
        key = str(failure.get("site", "")), str(failure.get("code", "FAILED"))
        counts[key] += 1
        rounds[key].add(int(failure.get("round", 0)))
    ordered = sorted(counts, key=lambda key: (-counts[key], key))
    return tuple(FailureGroup(*key, tuple(sorted(rounds[key])), counts[key]) for key in ordered)
