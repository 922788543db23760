"""What each code of a refusal means to whoever runs the site, and what to do about it.

docs/HOSPITAL.md has the same by what to do, docs/SECURE_AGGREGATION.md the rules of a masked sum.
Codes of a cohort have their words in `finding_codes`.
"""

from fedward_client.cohorts.finding_codes import CODE_MEANINGS, CodeMeaning

_COORDINATOR_CHANGES = "tell the coordinator; it changes the job"
_OUR_POLICY = "nothing, or change policy.toml"
_ASK_COORDINATOR = "ask the coordinator why; again and again it is an attack until explained"
_NEW_RUN = "nothing was spent; the coordinator begins a new run"
_CALL_OFFICE = "call the consortium's office"
_MAYBE_ATTACK = "call the consortium's office: it may be an attack"
_ATTACK = "an attack until explained: call the consortium's office"
_COORDINATOR_FAULT = "a fault of the coordinator's software, or an attack"
_RESTARTED = "nothing after a restart of the coordinator; else an attack until explained"
_RESTARTED_OR_LOST = (
    "nothing after a restart, a resumed run, a given-up attempt or a broken line; else ask it why"
)
_NEXT_ROUND = "nothing: the next round goes on"
_LOOK_AT_CLOCK = "look at your clock; then ask the coordinator"

_OWN_WILL: dict[str, tuple[str, str]] = {
    "WAITING_FOR_APPROVAL": (
        "nobody has decided on the job yet; the coordinator asks again",
        "fedward-site show, then approve or refuse",
    ),
    "SITE_PAUSED": ("this site is paused", "fedward-site resume, when you want to go on"),
    "JOB_REFUSED": ("somebody here refused the job", "nothing, or fedward-site approve"),
    "JOB_WITHDRAWN": ("somebody here ended the job for ever", "nothing"),
    "ROSTER_NOT_ACCEPTED": (
        "the consortium has new members that nobody here accepted",
        "fedward-site roster",
    ),
    "TOO_MANY_JOBS_WAIT": ("100 jobs are undecided", "decide on some: fedward-site jobs"),
    "OUTSIDE_HOURS": ("a round was asked for outside your hours", _OUR_POLICY),
    "COORDINATOR_NOT_ALLOWED": ("[jobs] does not allow this coordinator", _OUR_POLICY),
    "PURPOSE_NOT_ALLOWED": ("[jobs] does not allow the job's purpose", _OUR_POLICY),
    "MODEL_NOT_ALLOWED": ("[jobs] does not allow the job's model", _OUR_POLICY),
    "TOO_MANY_ROUNDS": ("the job has more rounds than [jobs] allows", _OUR_POLICY),
    "EVALUATION_NOT_ALLOWED": ("[privacy] lets no exact sums leave", _OUR_POLICY),
    "UNBOUNDED_NOT_ALLOWED": ("[privacy] asks for differential privacy", _OUR_POLICY),
    "JOINT_NOT_ALLOWED": ("[privacy] wants noise of this site's own", _OUR_POLICY),
    "EPSILON_ABOVE_CAP": ("the job costs a patient more than [privacy] allows", _OUR_POLICY),
    "SECURE_AGGREGATION_REQUIRED": (
        "your updates would leave in clear",
        "nothing: the job must mask",
    ),
    "ANSWERS_NOT_SEALED": ("your answers would leave in clear", "nothing: the job must seal them"),
    "BUDGET_EXCEEDED": (
        "patients have too little of their privacy budget left",
        "nothing: fedward-site ledger shows whose cohort",
    ),
    "NOT_ALLOWED": (
        "an account of this machine gave an order that only the daemon's own or root may give",
        "find out who that is",
    ),
}

_COORDINATORS_QUESTION: dict[str, tuple[str, str]] = {
    "MALFORMED_MESSAGE": ("what came is no message", _ASK_COORDINATOR),
    "UNVERIFIED_MESSAGE": (
        "what came is not signed by your coordinator for this site and run",
        _ASK_COORDINATOR,
    ),
    "UNEXPECTED_KIND": ("a message of a kind that no site answers", _ASK_COORDINATOR),
    "UNKNOWN_RUN": ("a run that this site never agreed to", _ASK_COORDINATOR),
    "MANIFEST_DIFFERS": ("the run was asked for with another manifest before", _ASK_COORDINATOR),
    "REPLAY": (
        "a question that was answered came again, word for word; no refusal by itself",
        _RESTARTED_OR_LOST,
    ),
    "NOT_A_TRAINER": ("this site was not to train in the run", _ASK_COORDINATOR),
    "ROUND_OUT_OF_RANGE": ("the job has no such round", _ASK_COORDINATOR),
    "WEIGHTS_MISMATCH": ("the weights do not fit the model of the job", _ASK_COORDINATOR),
    "TEST_ALREADY_USED": (
        "other weights were tested on your test patients in this run before",
        _ASK_COORDINATOR,
    ),
    "RUN_ENDED": (
        "it told what came of this run before, and wants to train on in it",
        _ASK_COORDINATOR,
    ),
    "RESULT_DIFFERS": (
        "it told another result of this run before",
        "ask it why; fedward-site audit verify checks what it signed",
    ),
    "PROTOCOL_TOO_NEW": (
        "the run speaks a newer protocol than your release",
        "upgrade here; until then the coordinator may begin a run for your release",
    ),
    "PROTOCOL_TOO_OLD": (
        "the run speaks an older protocol than your release knows",
        "nothing: the coordinator upgrades, or begins a run of a newer protocol",
    ),
    "PROTOCOL_VERSION": (
        "a message speaks another protocol than its run",
        "ask the coordinator; both sides may need one release",
    ),
    "DELTA_TOO_LARGE": ("delta is too large for your number of patients", _COORDINATOR_CHANGES),
    "BATCH_TOO_LARGE": ("a step would draw more patients than you have", _COORDINATOR_CHANGES),
    "NO_PATIENTS": ("you have no patients to train on", _COORDINATOR_CHANGES),
    **dict.fromkeys(
        (
            "PRIVACY_REFUSED", "COUNT_NOISE_TOO_SMALL", "INVALID_DELTA", "INVALID_EPSILON",
            "INVALID_JOINT_CONSTANTS", "INVALID_JOINT_SUM", "INVALID_NOISE", "INVALID_SAMPLING",
            "JOINT_NEEDS_SECURE_AGGREGATION", "JOINT_QUORUM_TOO_SMALL", "NOISE_DEVICE",
            "NOISE_TOO_FINE", "RING_TOO_SMALL", "TOO_FEW_HONEST_SITES", "LAYER_MIXES_PATIENTS",
            "LAYER_USED_TWICE",
        ),
        ("the privacy that the job asks for cannot be given as it asks", _COORDINATOR_CHANGES),
    ),
}  # fmt: skip

_OWN_MACHINE: dict[str, tuple[str, str]] = {
    "NODE_DUPLICATE": (
        "another machine showed this site's key",
        "end the copy; if nobody here made one, call the consortium's office",
    ),
    "LEDGER_DAMAGED": (
        "the privacy ledger is missing, edited, cut short or rolled back; nothing trains",
        "docs/PRIVACY.md says how two persons go on",
    ),
    "CLOCK_SET_BACK": ("the clock is behind the privacy ledger", "set the clock right"),
    **dict.fromkeys(
        (
            "PATIENTS_NOT_CHARGED", "NOTHING_TO_RESERVE", "ROUND_ALREADY_BEGUN", "ROUND_NOT_BEGUN",
            "RUN_ALREADY_RESERVED", "RUN_NOT_RESERVED", "RUN_RELEASED", "INVALID_CAPS",
            "INVALID_DISCLOSURE", "INVALID_ENTRY", "INVALID_PATIENTS", "NOISE_NOT_COPIED",
            "UNKNOWN_DISCLOSURE",
        ),
        ("the privacy ledger does not allow what was asked for", _NEW_RUN),
    ),
    **dict.fromkeys(
        ("COHORT_UNUSABLE", "NO_TRAINING_PATIENTS", "NO_MASKS"),
        ("the cohort does not fit the job", "cohort check; reports/ in the home says why"),
    ),
    "CONFIGURATION": (
        "a name or a file of the home cannot be used",
        "fedward-site start says the line",
    ),
    "NO_CERTIFICATE": ("a certificate is missing in the home", "join the consortium again"),
    "CORRUPT_FILE": ("a file of the home was changed or is damaged", "restore it from the backup"),
    "DISK_FULL": ("the disk is full", "make room"),
    "OUT_OF_MEMORY": ("the machine has too little memory", "make room, or stop what else runs"),
    "LOCKED": ("another process works on the home", "wait for it, or end it"),
    "NON_FINITE": ("training came to NaN or infinity", "look for odd images; tell the coordinator"),
    "TRAINING_FAILED": (
        "training could not be carried out",
        "look for odd images; tell the coordinator",
    ),
    **dict.fromkeys(
        ("INTERNAL_ERROR", "FAILED", "CLIENT_APP_RAISED"),
        ("something that should not happen", "site.log has its kind and its place: report it"),
    ),
}  # fmt: skip

_MEMBERS: dict[str, tuple[str, str]] = {
    "NOT_IN_ROSTER": ("somebody who is needed is not in the roster", _CALL_OFFICE),
    "ROSTER_OWN_ENTRY": ("the roster says something else of you than your own files", _CALL_OFFICE),
    "ROSTER_ROLE": ("a member that is no site would train", _CALL_OFFICE),
    "ROSTER_NO_COORDINATOR": ("the roster names no coordinator", _CALL_OFFICE),
    "ROSTER_EXPIRED": ("the roster is too old", _LOOK_AT_CLOCK),
    "ROSTER_NOT_YET_VALID": ("the roster is of the future", _LOOK_AT_CLOCK),
    "ROSTER_OLD": (
        "you have seen a newer roster than the run's",
        "the coordinator begins a new run; if it does not stop, call the consortium's office",
    ),
    **dict.fromkeys(
        (
            "ROSTER_OTHER", "ROSTER_FORKED", "ROSTER_COORDINATOR", "ROSTER_CONSORTIUM",
            "ROSTER_SIGNATURE", "ROSTER_CONFUSABLE", "ROSTER_DUPLICATE", "ROSTER_DUPLICATE_KEY",
            "ROSTER_UNSORTED",
        ),
        ("it is not the roster that your authority signed for this run", _MAYBE_ATTACK),
    ),
    **dict.fromkeys(
        ("CERT_EXPIRED", "CERT_NOT_YET_VALID", "CERT_AUTHORITY_EXPIRED"),
        (
            "a certificate is not of this time",
            "look at your clock; fedward-site status, then renew",
        ),
    ),
    **dict.fromkeys(
        (
            "CERT_SIGNATURE", "CERT_OTHER_AUTHORITY", "CERT_SELF_SIGNED", "CERT_ROLE",
            "CERT_NAMES", "CERT_IS_AUTHORITY", "CERT_KEY_TYPE", "CERT_KEY_USAGE",
            "CERT_UNKNOWN_CRITICAL", "CERT_VERSION", "CERT_MALFORMED", "CERT_NOT_DER",
            "CERT_PRIVATE_KEY", "CERT_SEVERAL", "CERT_TOO_LARGE", "CERT_TRAILING_BYTES",
        ),
        (
            "a certificate is not one that your authority issues",
            "call the consortium's office; join again if it is your own",
        ),
    ),
}  # fmt: skip

_MASKED_SUMS: dict[str, tuple[str, str]] = {
    "SECAGG_REFUSED": ("a step of a masked sum broke a rule", _ASK_COORDINATOR),
    "SECAGG_SELF_MISSING": (
        "this site was asked and does not stand in the list",
        _COORDINATOR_FAULT,
    ),
    "SECAGG_KEYS_CHANGED": ("the keys under your name are not what you signed", _ATTACK),
    "SECAGG_NOT_A_CHAIN": (
        "a list names a site twice, or one that the list before has not",
        _COORDINATOR_FAULT,
    ),
    "SECAGG_LISTS_OVERLAP": ("a site stands among survivors and among the lost", _ATTACK),
    "SECAGG_TOO_FEW_SITES": ("too few sites for a masked sum", "wait for sites"),
    "SECAGG_TOO_MANY_SITES": ("more sites than the sum has room for", _COORDINATOR_FAULT),
    "SECAGG_TOO_FEW_ORGANISATIONS": ("fewer organisations than your policy wants", _OUR_POLICY),
    "SECAGG_ORGANISATION_TOO_LARGE": (
        "one organisation has a third of the sites",
        "the coordinator leaves some of its sites out",
    ),
    "SECAGG_SECOND_REQUEST": ("a step that was answered was asked in another way", _RESTARTED),
    "SECAGG_OUT_OF_ORDER": ("a step of a masked sum came before its turn", _COORDINATOR_FAULT),
    "SECAGG_FOREIGN_KEY": ("a list has a name or a key that is not of the roster", _ATTACK),
    "SECAGG_BAD_SIGNATURE": ("a signature in a step of a masked sum does not fit", _ATTACK),
    "SECAGG_BAD_PACKET": ("a packet is not the one that its site announced", _ATTACK),
    "SECAGG_WEIGHTS_DIFFER": ("this round was asked for with other weights before", _ATTACK),
    "SECAGG_CODEC_DIFFERS": (
        "the others encode their updates in another way",
        "compare releases and numbers of sites",
    ),
    "SECAGG_SUITE": ("other ciphers are used there", "bring both sides to one release"),
    "SECAGG_ROSTER": ("the sum was asked for with another roster", _ASK_COORDINATOR),
    "SECAGG_BINDING": ("a step belongs to another run, round or attempt", _RESTARTED),
    "SECAGG_CLOSED": ("the secrets of this round are destroyed", _NEXT_ROUND),
    "SECAGG_MASKED_BEFORE": (
        "your part was masked before, and too few sites gave that attempt up",
        _NEXT_ROUND,
    ),
    "SECAGG_ABANDONED": ("this site gave the attempt up", _NEXT_ROUND),
    "SECAGG_TOO_FEW_SIGNATURES": (
        "too few sites confirmed the list; nothing was revealed",
        _NEXT_ROUND,
    ),
    "SECAGG_COUNTER": ("a sum does not count its survivors and was not used", _NEXT_ROUND),
    "SECAGG_LANE_BOUND": (
        "a number beside an update is out of bounds",
        "report it: it is software or data of a site",
    ),
    "SECAGG_UNRECOVERABLE": ("the secrets of a lost site do not come together", _NEXT_ROUND),
    "SECAGG_ROUND_OLD": (
        "a lower round than one that was begun",
        "the coordinator went back; it begins a new run",
    ),
}

_WORDS = _OWN_WILL | _COORDINATORS_QUESTION | _OWN_MACHINE | _MEMBERS | _MASKED_SUMS


def words_of_refusal(code: str) -> CodeMeaning:
    """Give a code's words; an unknown one says so, for a record may be of another release."""
    if code in _WORDS:
        return CodeMeaning(*_WORDS[code])
    unknown = CodeMeaning("a code of another release", "see its docs")
    return CODE_MEANINGS.get(code, unknown)
