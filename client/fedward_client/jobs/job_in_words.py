"""A job in plain words, for whoever decides on it: what, on what, at what cost, and what is new.

Everything is read from the job's manifest and from this home. Texts of the job come from another
organisation: whoever prints them makes them printable.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fedward_client.cohorts.registered.snapshot_store import newest_snapshot
from fedward_client.enrolment.accepted_members import accepted_members
from fedward_client.jobs.job_gate import require_leader_allowed
from fedward_client.jobs.job_store import KeptJob, all_jobs
from fedward_client.ledger.ledger_folder import ledger_folder
from fedward_client.ledger.site_ledger import open_ledger
from fedward_client.ledger.statement import statement_of
from fedward_client.ledger.utc_clock import SystemUtcClock
from fedward_client.site_home import SiteHome
from fedward_client.site_policy import SitePolicy, read_policy, require_within_policy
from fedward_client.site_settings import SiteSettings
from fedward_common.errors import FedwardError
from fedward_common.job.job_file import Job, table_of_job
from fedward_common.wire.manifest import Manifest


@dataclass(frozen=True)
class Difference:
    """One setting in which a job is not like the one that was let in last.

    Attributes:
        before: None where it had none.
        now: None where it has none.
    """

    setting: str
    before: Any
    now: Any


@dataclass(frozen=True)
class JobWords:
    """What there is to say of a job.

    Attributes:
        lines: A word or two, and a sentence or two.
        forbidden: The code of what the policy does not allow; empty where it allows all.
        compared_with: The run of the job that was let in last; empty where there is none.
    """

    lines: tuple[tuple[str, str], ...]
    forbidden: str
    compared_with: str
    differences: tuple[Difference, ...]


def words_of(home: SiteHome, kept: KeptJob, settings: SiteSettings) -> JobWords:
    """Describe a job.

    Raises:
        ConfigurationError: The policy cannot be read.
        CorruptFileError: Another job or the list of members is damaged.
        LedgerDamagedError: The ledger cannot be believed.
        MalformedMessageError: The manifest's job is none.
    """
    job, policy = kept.manifest.job, read_policy(home)
    cohort = kept.decision.cohort if kept.decision and kept.decision.cohort else settings.cohort
    trains = settings.site in kept.manifest.training_sites
    refused = _refusal(home, policy, kept.manifest, trains=trains)
    lines = [
        ("job", _named(job)),
        ("trains", _training(kept.manifest, job) if trains else "Nothing here: it only evaluates."),
        ("predicts", f"{job.task.kind}: {', '.join(job.task.class_names)}."),
        ("data", _data(home, job, cohort)),
        ("with", _company(home, kept.manifest)),
        ("leaves", _leaving(job)),
        ("privacy", _privacy(job) if trains else "No patient is trained on."),
        ("budget", _budget(home, policy, cohort)),
        *_gate(job),
        ("policy", "The site's policy allows it." if refused is None else f"Refused: {refused}."),
    ]
    last = _last_approved(home, kept)
    return JobWords(
        tuple(lines),
        "" if refused is None else refused.code,
        "" if last is None else last.run,
        () if last is None else tuple(_differences(last.manifest, kept.manifest)),
    )


def _named(job: Job) -> str:
    texts = [f"{job.job.name!r}"]
    texts += [f"for: {job.job.purpose}"] if job.job.purpose else ["no purpose is stated"]
    references = (("protocol", job.job.protocol_reference), ("ethics", job.job.ethics_reference))
    texts += [f"{name}: {text}" for name, text in references if text]
    return "; ".join(texts) + "."


def _training(manifest: Manifest, job: Job) -> str:
    start = "random weights" if job.model.start == "random" else "weights that it brings"
    rate = job.training.sampling_rate
    drawn = f"{job.training.batch_patients} patients" if rate is None else f"{rate:.3g} of them"
    return (
        f"{job.model.name!r} with {manifest.num_parameters:,} weights, from {start}; up to "
        f"{job.job.rounds} rounds of {job.training.local_steps} steps, {drawn} in each step."
    )


def _data(home: SiteHome, job: Job, cohort: str) -> str:
    size = " x ".join(str(length) for length in job.data.image_size)
    return f"Cohort {cohort!r} ({_patients(home, cohort)}); {job.data.modality}, brought to {size}."


def _patients(home: SiteHome, cohort: str) -> str:
    try:
        snapshot = newest_snapshot(home, cohort)
    except FedwardError as error:
        return f"its snapshot cannot be read: {error.code}"
    if snapshot is None:
        return "its patients are counted when the job comes in"
    train = {one.patient for one in snapshot.cases if one.split == "train"}
    return f"{len(train)} to train on in {snapshot.full_name}"


def _company(home: SiteHome, manifest: Manifest) -> str:
    known = accepted_members(home)
    organisations = {} if known is None else {one[0]: one[1] for one in known.members}
    names = ", ".join(f"{s} ({organisations.get(s, 'not known')})" for s in manifest.training_sites)
    leader = f"{manifest.coordinator} ({organisations.get(manifest.coordinator, 'not known')})"
    return f"{len(manifest.training_sites)} training sites: {names}; led by {leader}."


def _leaving(job: Job) -> str:
    sums = "sums over validation and test patients"
    if job.secure_aggregation.enabled:
        return f"Updates and {sums}, masked: the coordinator learns what all sites add up to."
    return f"Updates and {sums}, unmasked: the coordinator sees this site's own."


def _privacy(job: Job) -> str:
    section = job.privacy
    if section.mechanism == "none":
        return "NO differential privacy: nothing bounds what the model may tell of a patient."
    if section.epsilon is not None:
        cost = f"Epsilon {section.epsilon:g} at delta {section.delta:g} for each patient"
    else:
        cost = (
            f"Noise of {section.noise_multiplier:g} times the clipping norm at delta "
            f"{section.delta:g}; what it costs is reckoned when the job comes in"
        )
    if section.mechanism == "joint":
        return f"{cost}, against whoever sees sums over all sites; much more to others."
    return f"{cost}, with noise that this site draws. Validation and test sums have no bound."


def _gate(job: Job) -> Iterator[tuple[str, str]]:
    if job.hold_out is not None:
        metric, images = job.hold_out.metric_of(job.selection_metric), job.hold_out.sha256[:12]
        text = (
            f"By {metric} on public images at the coordinator (SHA-256 {images}): a round that "
            f"makes it worse by more than {job.hold_out.largest_drop:g} is left out, and is "
            "charged to the patients all the same."
        )
        yield "judged", text


def _budget(home: SiteHome, policy: SitePolicy, cohort: str) -> str:
    mine = policy.privacy
    allowed = f"allowed: {mine.epsilon_per_job:g} a job, {mine.epsilon_total:g} in all"
    if ledger_folder(home).is_unused():
        return f"Nothing is spent yet; {allowed}."
    with open_ledger(home, SystemUtcClock(), wait=True) as ledger:
        statement = statement_of(ledger, policy.caps(), cohort)
    return (
        f"The most that a patient of {cohort!r} has spent: epsilon {statement.most_spent:.3f}; "
        f"with what is reserved: {statement.most_charged:.3f}; {allowed}."
    )


def _refusal(
    home: SiteHome, policy: SitePolicy, manifest: Manifest, *, trains: bool
) -> FedwardError | None:
    try:
        require_leader_allowed(home, policy, manifest.coordinator)
        require_within_policy(policy, manifest.job, trains=trains)
    except FedwardError as error:
        return error
    return None


def _last_approved(home: SiteHome, kept: KeptJob) -> KeptJob | None:
    """Give the other job that was let in last; for one that is in, the last before it."""
    until = kept.approved_utc_seconds
    before = [
        (other.approved_utc_seconds, other.run, other)
        for other in all_jobs(home)
        if other.run != kept.run
        and other.approved_utc_seconds is not None
        and (until is None or other.approved_utc_seconds <= until)
    ]
    return max(before, key=lambda one: one[:2])[2] if before else None


def _differences(before: Manifest, now: Manifest) -> Iterator[Difference]:
    old, new = _settings(before), _settings(now)
    for setting in sorted(old.keys() | new.keys()):
        if old.get(setting) != new.get(setting):
            yield Difference(setting, old.get(setting), new.get(setting))


def _settings(manifest: Manifest) -> dict[str, Any]:
    """Give everything that a job settles; what differs in every run stays out."""
    return dict(_flat(table_of_job(manifest.job), "")) | {
        "coordinator": manifest.coordinator,
        "training sites": list(manifest.training_sites),
        "number of weights": manifest.num_parameters,
    }


def _flat(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
