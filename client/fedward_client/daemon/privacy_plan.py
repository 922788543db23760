"""What one run costs one patient of this site, decided at acceptance and kept beside the manifest.

The site derives its own noise from the job's epsilon and its own number of patients, for the steps
of the whole run. With the joint mechanism the noise is that of all sites, and follows from the
manifest alone. Whoever goes on with the run later reads the plan; it is never made anew, for
another number of patients would mean another noise.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from fedward_common.atomic_files import write_atomically
from fedward_common.errors import ConfigurationError, CorruptFileError
from fedward_common.job.job_file import Job
from fedward_common.privacy.disclosures import Disclosure, SampledGaussian, Unbounded
from fedward_common.privacy.joint_mechanism import (
    JointConstants,
    effective_noise_multiplier,
    joint_disclosure,
)
from fedward_common.settings import from_table

_FILE = "privacy.json"


@dataclass(frozen=True)
class PrivacyPlan:
    """The mechanism of a run at one site; nothing of it leaves.

    Attributes:
        mechanism: The job's.
        unit: Who is protected: patient, lesion or image.
        epsilon: What the whole run costs one unit; None without a mechanism.
        delta: The job's.
        noise_multiplier: Standard deviation of the noise over the clipping norm; with the joint
            mechanism that of the honest sites together, over the sensitivity of the rounded sum.
        sampling_rate: Probability of each unit to be in a step.
        num_steps: Of the whole run.
        num_units: Training units when the run was accepted.
        joint: What a share is made with; None without the joint mechanism.
    """

    mechanism: str
    unit: str
    epsilon: float | None = None
    delta: float | None = None
    noise_multiplier: float = 0.0
    sampling_rate: float = 0.0
    num_steps: int = 0
    num_units: int = 0
    joint: JointConstants | None = None

    @property
    def is_private(self) -> bool:
        """Whether any noise protects the units."""
        return self.mechanism != "none"

    def disclosure_of(self, num_steps: int) -> Disclosure:
        """Give what so many steps disclose."""
        if not self.is_private:
            return Unbounded("training without differential privacy")
        if self.joint is not None:
            return joint_disclosure(self.joint, self.sampling_rate, num_steps)
        return SampledGaussian(self.noise_multiplier, self.sampling_rate, num_steps)


def plan_privacy(
    job: Job, num_units: int, unit: str, joint: JointConstants | None = None
) -> PrivacyPlan:
    """Calibrate the noise of a run to this site.

    Args:
        job: The job.
        num_units: Training units of this site.
        unit: Who they are.
        joint: The run's constants, where its mechanism is the joint one.

    Raises:
        PrivacyError: Delta is too large for so few patients, or a batch larger than the cohort.
    """
    section = job.privacy
    if section.mechanism == "none":
        return PrivacyPlan("none", unit, num_units=num_units)
    from fedward_common.privacy.accountant import PLD
    from fedward_common.privacy.calibration import (
        noise_multiplier_for,
        require_delta_fits,
        sampling_rate_of,
    )

    delta = section.delta or 0.0
    require_delta_fits(delta, num_units)
    rate = sampling_rate_of(job.training, num_units)
    num_steps = job.job.rounds * job.training.local_steps
    if joint is not None:
        sigma = effective_noise_multiplier(joint)
    else:
        sigma = section.noise_multiplier or noise_multiplier_for(
            section.epsilon or 0.0, delta, sampling_rate=rate, num_steps=num_steps
        )
    plan = PrivacyPlan(
        section.mechanism, unit, None, delta, sigma, rate, num_steps, num_units, joint
    )
    epsilon = PLD.epsilon_of([plan.disclosure_of(num_steps)], delta)
    return dataclasses.replace(plan, epsilon=epsilon)


def write_plan(run_folder: Path, plan: PrivacyPlan) -> None:
    """Keep a plan for as long as the run lasts."""
    text = json.dumps(dataclasses.asdict(plan), indent=1)
    write_atomically(run_folder / _FILE, text.encode(), mode=0o600)


def has_plan(run_folder: Path) -> bool:
    """Say whether a run was accepted for training."""
    return (run_folder / _FILE).exists()


def read_plan(run_folder: Path) -> PrivacyPlan:
    """Read the plan of an accepted run in which this site trains.

    Raises:
        CorruptFileError: It is gone or damaged.
    """
    path = run_folder / _FILE
    try:
        return from_table(PrivacyPlan, json.loads(path.read_bytes()))
    except (OSError, ValueError, ConfigurationError) as error:
        raise CorruptFileError(
            f"{path} is gone or damaged", hint="the run cannot go on at this site without it"
        ) from error
