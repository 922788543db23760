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
    "ROUND_LOST": "too few sites answered the last step, and nothing was revealed",
    "MEAN_NORM_TOO_LARGE": "the mean update was longer than the job allows",
    "SECAGG_CLOSED": "the site had finished this round and gives no second sum",
    "SECAGG_ABANDONED": "the site had given up this attempt",
    "SECAGG_MASKED_BEFORE": "too few sites had given up the attempt before",
    "SECAGG_SECOND_REQUEST": "the site was asked in two ways and answers once",
    "SECAGG_TOO_FEW_SITES": "too few sites for a sum",
    "SECAGG_TOO_FEW_ORGANISATIONS": "too few organisations for a sum",
    "SECAGG_ORGANISATION_TOO_LARGE": "one organisation has too many of the sites",
    "SECAGG_WEIGHTS_DIFFER": "the site was asked with other weights before",
    "SECURE_AGGREGATION_REQUIRED": "the site's policy asks for secure aggregation",
    "UNBOUNDED_NOT_ALLOWED": "the site's policy asks for differential privacy",
    "JOINT_NEEDS_SECURE_AGGREGATION": "one noise for all sites holds with secure aggregation alone",
    "JOINT_NOT_ALLOWED": "the site's policy wants noise of its own, not a share of one noise",
    "EVALUATION_NOT_ALLOWED": "the site's policy lets no exact sums of an evaluation leave",
    "EPSILON_ABOVE_CAP": "the job costs a patient more than the site's policy allows",
    "DELTA_TOO_LARGE": "the job's delta is too large for the number of the site's patients",
    "BUDGET_EXCEEDED": "patients of the site have too little of their privacy budget left",
    "BATCH_TOO_LARGE": "a step would draw more patients than the site has",
    "LEDGER_DAMAGED": "the site's privacy ledger is damaged, so nothing trains on its patients",
    "CONFIGURATION": "the site's settings or data are wrong; its log says how",
    "OUT_OF_MEMORY": "the site has too little memory",
    "DISK_FULL": "the site's disk is full",
    "ANSWERS_NOT_SEALED": "the run neither masks nor seals what leaves the site",
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
    def when_text(self) -> str:
        """`at acceptance`, which is round 0, `in round 3`, or both."""
        rounds = [number for number in self.rounds if number > 0]
        parts = ["at acceptance"] if 0 in self.rounds else []
        if rounds:
            parts.append(f"in {'round' if len(rounds) == 1 else 'rounds'} {range_text(rounds)}")
        return " and ".join(parts)

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
