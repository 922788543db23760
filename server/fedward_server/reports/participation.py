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
    "CLIENT_APP_RAISED": "the site could not answer a message; its log says where",
    "LATE": "no answer came before the deadline",
    "NODE_UNAVAILABLE": "the site was not connected",
    "NOT_IN_ROSTER": "the site was removed from the consortium",
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
    "WAITING_FOR_APPROVAL": "nobody at the site had decided on the job",
    "SITE_PAUSED": "the site was paused by its operator",
    "JOB_REFUSED": "somebody at the site refused the job",
    "JOB_WITHDRAWN": "somebody at the site ended the job there",
    "COORDINATOR_NOT_ALLOWED": "the site's policy does not allow this coordinator",
    "PURPOSE_NOT_ALLOWED": "the site's policy does not allow the job's purpose",
    "MODEL_NOT_ALLOWED": "the site's policy does not allow the job's model",
    "TOO_MANY_ROUNDS": "the job has more rounds than the site's policy allows",
    "OUTSIDE_HOURS": "the site begins no round at this time of the day",
    "TOO_MANY_JOBS_WAIT": "too many jobs wait for a decision at the site",
    "MANIFEST_DIFFERS": "the site was asked for this run with another manifest before",
    "UNKNOWN_RUN": "the site never accepted this run",
    "NOT_A_TRAINER": "the site does not train in this run",
    "ROUND_OUT_OF_RANGE": "the job has no such round",
    "TEST_ALREADY_USED": "other weights were tested on the site's test patients in this run",
    "UNEXPECTED_KIND": "the site was asked something that no coordinator asks",
    "PROTOCOL_TOO_NEW": "the run's protocol is newer than the site's release: upgrade the site, "
    "or launch a run of the version before with --protocol",
    "PROTOCOL_TOO_OLD": "the run's protocol is older than the site's release knows: upgrade the "
    "coordinator, or launch a run of its newest version",
    "PROTOCOL_VERSION": "a message was of another protocol than its run",
    "ROSTER_NOT_ACCEPTED": "new members wait for the word of somebody at the site",
    "ROSTER_OLD": "the site has seen a newer roster",
    "ROSTER_EXPIRED": "the roster is too old",
    "ROSTER_NOT_YET_VALID": "the roster is of the future; somebody's clock is wrong",
    "ROSTER_FORKED": "two rosters have one version",
    "ROSTER_OTHER": "the manifest names another roster than the one that came",
    "ROSTER_OWN_ENTRY": "the roster says something else of the site than its certificate",
    "ROSTER_COORDINATOR": "the coordinator is not the one of the roster",
    "ROSTER_NO_COORDINATOR": "the roster names no coordinator",
    "ROSTER_ROLE": "a member that is no site would train",
    "NO_CERTIFICATE": "the site's own certificate is missing",
    "SECAGG_ROUND_OLD": "the site has begun a later round",
    "SECAGG_OUT_OF_ORDER": "a step of the sum came before its turn",
    "SECAGG_BINDING": "the step belongs to another run, round, attempt or list",
    "SECAGG_SUITE": "the site and the coordinator use other ciphers: bring both to one release",
    "SECAGG_CODEC_DIFFERS": "the site and the coordinator encode updates in other ways",
    "SECAGG_ROSTER": "the sum was asked for with another roster",
    "SECAGG_TOO_MANY_SITES": "more sites than the sum has room for",
    "SECAGG_TOO_FEW_SIGNATURES": "too few sites confirmed the list of survivors",
    "SECAGG_UNRECOVERABLE": "the secrets of a site that was lost could not be put together",
    "SECAGG_COUNTER": "the sum does not count its survivors, and was not used",
    "SECAGG_LANE_BOUND": "a number beside the update is out of bounds",
    "SECAGG_SELF_MISSING": "the site was asked but does not stand in the list",
    "SECAGG_KEYS_CHANGED": "the keys under the site's name are not its own",
    "SECAGG_NOT_A_CHAIN": "a list names a site that the list before does not",
    "SECAGG_LISTS_OVERLAP": "a site stands among survivors and among the lost",
    "SECAGG_FOREIGN_KEY": "a list has a key or a name that is not of the roster",
    "SECAGG_BAD_SIGNATURE": "a signature in a step does not fit",
    "SECAGG_BAD_PACKET": "a packet is not the one that its site announced",
    "SECAGG_REFUSED": "a step of secure aggregation broke a rule",
    "CLOCK_SET_BACK": "the site's clock is behind its privacy ledger",
    "NO_PATIENTS": "the site has no patients to train on",
    "NO_TRAINING_PATIENTS": "the site has no patients to train on",
    "PATIENTS_NOT_CHARGED": "the site's patients are others than when the run was accepted",
    "NO_MASKS": "the site's cohort has no masks",
    "CORRUPT_FILE": "a file in the site's home was changed or is damaged",
    "LOCKED": "another process works on the site's home",
    "E_CACHE_FULL": "the site's room for decoded images is used up",
    "E_COHORT_CHANGED": "the site's images are not those that the run was accepted with",
    "E_COHORT_EMPTY": "the site has no usable image",
    "E_SOURCE_UNREADABLE": "the place of the site's images cannot be read",
    "E_SPLIT_MOVED": "a patient would leave the split that the site recorded",
    "E_TASK_MISMATCH": "the site registered its cohort for another task",
    "E_TOO_MANY_EXCLUDED": "too large a share of the site's images cannot be used",
    "E_FILE_CHANGED": "a file changed while it was read",
    "E_FILE_UNREADABLE": "a file could not be read",
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
    **dict.fromkeys(
        (
            "E_SERVER_ANSWER", "E_SERVER_CERTIFICATE", "E_SERVER_NOT_FOUND", "E_SERVER_REFUSED",
            "E_SERVER_TOO_LARGE", "E_SERVER_UNREACHABLE",
        ),
        "the site's image server did not give what was asked for",
    ),
    **dict.fromkeys(
        (
            "CERT_AUTHORITY_EXPIRED", "CERT_EXPIRED", "CERT_IS_AUTHORITY", "CERT_KEY_TYPE",
            "CERT_KEY_USAGE", "CERT_MALFORMED", "CERT_NAMES", "CERT_NOT_DER", "CERT_NOT_YET_VALID",
            "CERT_OTHER_AUTHORITY", "CERT_PRIVATE_KEY", "CERT_ROLE", "CERT_SELF_SIGNED",
            "CERT_SEVERAL", "CERT_SIGNATURE", "CERT_TOO_LARGE", "CERT_TRAILING_BYTES",
            "CERT_UNKNOWN_CRITICAL", "CERT_VERSION",
        ),
        "the site does not believe a certificate: its own, or one in the roster",
    ),
    **dict.fromkeys(
        (
            "ROSTER_CONFUSABLE", "ROSTER_CONSORTIUM", "ROSTER_DUPLICATE", "ROSTER_DUPLICATE_KEY",
            "ROSTER_SIGNATURE", "ROSTER_UNSORTED",
        ),
        "the roster is not one that the site's authority would sign",
    ),
    **dict.fromkeys(
        ("LAYER_MIXES_PATIENTS", "LAYER_USED_TWICE"),
        "the model has a layer that private training cannot clip",
    ),
    **dict.fromkeys(
        (
            "COUNT_NOISE_TOO_SMALL", "INVALID_DELTA", "INVALID_EPSILON", "INVALID_JOINT_CONSTANTS",
            "INVALID_JOINT_SUM", "INVALID_NOISE", "INVALID_SAMPLING", "JOINT_QUORUM_TOO_SMALL",
            "NOISE_DEVICE", "NOISE_TOO_FINE", "PRIVACY_REFUSED", "RING_TOO_SMALL",
            "TOO_FEW_HONEST_SITES",
        ),
        "the privacy that the job asks for cannot be given with these settings",
    ),
    **dict.fromkeys(
        (
            "INVALID_CAPS", "INVALID_DISCLOSURE", "INVALID_ENTRY", "INVALID_PATIENTS",
            "NOISE_NOT_COPIED", "NOTHING_TO_RESERVE", "ROUND_ALREADY_BEGUN", "ROUND_NOT_BEGUN",
            "RUN_ALREADY_RESERVED", "RUN_NOT_RESERVED", "RUN_RELEASED", "UNKNOWN_DISCLOSURE",
        ),
        "the site's privacy ledger does not allow what was asked for",
    ),
    "RUN_ENDED": "the site was told the run's result, and trains no more in it",
    "RESULT_DIFFERS": "the site was told another result of the run before",
}  # fmt: skip


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
