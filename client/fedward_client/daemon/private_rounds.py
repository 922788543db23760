"""What a run costs this site's patients: promised at acceptance, charged before a round trains."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fedward_client.daemon.privacy_plan import plan_privacy, write_plan
from fedward_client.ledger.site_ledger import Ledger, open_ledger
from fedward_client.ledger.utc_clock import SystemUtcClock
from fedward_client.noise_place import NoisePlace, noise_place
from fedward_client.site_policy import read_policy, require_admissible
from fedward_common.atomic_files import write_atomically
from fedward_common.errors import CorruptFileError, PrivacyError
from fedward_common.privacy.joint_constants import joint_constants_of, require_joint_quorum
from fedward_common.privacy.joint_mechanism import JointConstants
from fedward_common.privacy.noise_source import NoiseSource, OsKeyedNoise, SeededNoise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedward_client.cohorts.source import Split
    from fedward_client.daemon.site_state import OpenRun, OpenSite
    from fedward_client.training.joint_step import JointShare
    from fedward_client.training.local_training import RoundOfTraining
    from fedward_client.training.private_training import PrivateOutcome

_CLIPPING = "clipping.json"


def promise_privacy(site: "OpenSite", run: "OpenRun") -> None:
    """Check a run against the site's policy, derive its noise and reserve all of it in the ledger.

    Training without a mechanism is charged at once: whatever comes of the run, nothing bounds it.

    Raises:
        PrivacyError: Policy or ledger refuses; nothing was reserved.
    """
    job = run.job
    num_units = run.view.num_patients("train")
    policy = read_policy(site.home)
    require_admissible(policy, job.privacy, num_units, evaluates=True)
    plan = plan_privacy(job, num_units, run.view.unit, _joint_constants(site, run))
    planned = plan.disclosure_of(plan.num_steps)
    run_id = run.manifest.run
    with _ledger_of(site) as ledger:
        if not ledger.has_reserved(run_id):
            ledger.reserve(
                run_id,
                job.job.purpose or job.job.name,
                site.cohort,
                _pseudonyms_of(run, "train"),
                (planned,),
                policy.caps(job.privacy),
            )
        else:  # the plan is gone, by a crash or by hand; cohort and job may be others since
            ledger.require_charged(run_id, _pseudonyms_of(run, "train"), (planned,))
        if not plan.is_private and not ledger.has_begun(run_id, 1):
            ledger.begin_round(run_id, 1, 1, planned)
    write_plan(run.folder, plan)


def _joint_constants(site: "OpenSite", run: "OpenRun") -> JointConstants | None:
    """Derive the constants of a joint run from its manifest, and refuse what they cannot cover."""
    job, manifest = run.job, run.manifest
    if job.privacy.mechanism != "joint":
        return None
    if not (site.is_simulated or job.secure_aggregation.enabled):
        raise PrivacyError(
            "the joint mechanism without secure aggregation: the coordinator would see this site's "
            "part, which has only a share of the noise",
            hint='secure_aggregation.enabled = true, or mechanism = "per-site"',
            code="JOINT_NEEDS_SECURE_AGGREGATION",
        )
    num_sites = len(manifest.training_sites)
    require_joint_quorum(job, num_sites)
    return joint_constants_of(job, num_sites, manifest.num_parameters)


def train_privately_once(
    site: "OpenSite", run: "OpenRun", round_: "RoundOfTraining", attempt: int
) -> "PrivateOutcome":
    """Train the module of `run` for one round, with the noise of its plan.

    The ledger has the round before any patient is sampled. In a simulation the noise follows from a
    seed: a round that a crash cut short is the same when it is done again, and is charged once.

    Raises:
        PrivacyError: The ledger refuses.
    """
    from fedward_client.training.local_training import pick_device
    from fedward_client.training.private_training import PrivateRound, train_privately

    plan, number = run.privacy_plan, round_.round_number
    noise, device = _noise_of(site, round_), pick_device()
    # Read anew for each round: a hospital that asks for the stronger noise has it at once.
    place = noise_place(device.type, device_noise=read_policy(site.home).privacy.device_noise)
    _charge_round(site, run, noise, number, attempt, place)
    norm = _clipping_norm_before(run.folder, number, run.job.privacy.clipping_norm)
    outcome = train_privately(
        run.network.module,
        run.job,
        run.job.privacy,
        run.training_data,
        round_,
        PrivateRound(plan.noise_multiplier, plan.sampling_rate, norm, plan.num_units, place),
        noise,
        device,
    )
    _keep_clipping_norm(run.folder, number, outcome.clipping_norm, norm)
    return outcome


def share_of_joint_step_once(
    site: "OpenSite", run: "OpenRun", round_: "RoundOfTraining", attempt: int
) -> "JointShare":
    """Give this site's share of one joint step at the weights of `run`.

    The ledger has the round first, as with `train_privately_once`.

    Raises:
        PrivacyError: The ledger refuses.
        CorruptFileError: The run's plan has no joint constants.
    """
    from fedward_client.training.joint_step import joint_share
    from fedward_client.training.local_training import pick_device

    constants = run.privacy_plan.joint
    if constants is None:
        raise CorruptFileError(
            f"the privacy plan in {run.folder} has no joint constants", hint="start a new run"
        )
    noise = _noise_of(site, round_)
    # Whole numbers with a share of the noise: they are made on the processor, whatever trains.
    _charge_round(site, run, noise, round_.round_number, attempt, "cpu")
    return joint_share(
        run.network.module, run.job, constants, run.training_data, noise, pick_device()
    )


def _charge_round(
    site: "OpenSite",
    run: "OpenRun",
    noise: NoiseSource,
    number: int,
    attempt: int,
    place: NoisePlace,
) -> None:
    """Write a round down before any patient is sampled; noise that repeats is charged once."""
    with _ledger_of(site) as ledger:
        if noise.is_private or not ledger.has_begun(run.manifest.run, number):
            steps = run.privacy_plan.disclosure_of(run.job.training.local_steps)
            ledger.begin_round(run.manifest.run, number, attempt, steps, place)


def commit_round(site: "OpenSite", run: "OpenRun", round_number: int, attempt: int) -> None:
    """Note that a round's answer is kept and may leave."""
    with _ledger_of(site) as ledger:
        ledger.commit_round(run.manifest.run, round_number, attempt)


def note_evaluation(site: "OpenSite", run: "OpenRun", split: "Split") -> None:
    """Write down, once a run and split, that exact sums over its patients leave.

    The test split ends the run: what it had reserved and not begun is given back.
    """
    if split in run.noted_splits:
        return
    run_id = run.manifest.run
    patients = _pseudonyms_of(run, split)
    with _ledger_of(site) as ledger:
        noted = any((e.run, e.split) == (run_id, split) for e in ledger.accounts.evaluations)
        if len(patients) and not noted:
            ledger.note_evaluation(run_id, split, patients, "exact")
        if split == "test" and ledger.has_reserved(run_id):
            ledger.release(run_id)
    run.noted_splits.add(split)


def _ledger_of(site: "OpenSite") -> Ledger:
    # Processes of a simulation may come to one site's ledger at a time, and wait for each other.
    return open_ledger(site.home, SystemUtcClock(), wait=site.is_simulated)


def _pseudonyms_of(run: "OpenRun", split: "Split") -> "NDArray[np.uint8]":
    cases = run.view.cases_by_patient(split)
    places = np.concatenate(cases) if cases else np.empty(0, dtype=np.int64)
    pseudonyms: NDArray[np.uint8] = run.view.pseudonyms[places]
    return pseudonyms


def _noise_of(site: "OpenSite", round_: "RoundOfTraining") -> NoiseSource:
    """Noise is keyed by the operating system; only a simulated hospital has a seed."""
    if site.is_simulated:
        return SeededNoise(round_.seed, "privacy", round_.round_number)
    return OsKeyedNoise()


def _clipping_norm_before(run_folder: Path, round_number: int, first: float) -> float:
    """Give the norm that the rounds before have come to."""
    path = run_folder / _CLIPPING
    try:
        norms = json.loads(path.read_bytes())
        return float(norms.get(str(round_number - 1), first))
    except FileNotFoundError:
        return first
    except (ValueError, AttributeError, TypeError) as error:
        raise CorruptFileError(f"{path} is damaged", hint="start a new run") from error


def _keep_clipping_norm(run_folder: Path, round_number: int, norm: float, before: float) -> None:
    """Keep the norms around this round, for a resumed run may ask for it again."""
    if norm == before and not (run_folder / _CLIPPING).exists():
        return
    norms = {str(round_number - 1): before, str(round_number): norm}
    write_atomically(run_folder / _CLIPPING, json.dumps(norms).encode(), mode=0o600)
