"""`fedward epsilon` and `fedward noise`: the accounting that every site does, by hand.

Nothing here touches a patient or a ledger: one job on patients who were in no other.
"""

import json
import math
import sys
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

from fedward_common.errors import ConfigurationError, PrivacyError
from fedward_common.privacy.disclosures import MAX_COUNT

MAX_PATIENTS = 10**9


@dataclass(frozen=True)
class Schedule:
    """How often patients are looked at, and the delta; valid once built.

    Args:
        patients: Training patients of the site.
        batch: Patients in a step, on average: each is drawn with probability batch / patients.
        steps: Local steps of the whole run, rounds times steps in a round.
        delta: At most 1 / (10 patients).

    Raises:
        ConfigurationError: One of them cannot be; it is named as its option.
    """

    patients: int
    batch: int
    steps: int
    delta: float

    def __post_init__(self) -> None:
        _require_count("--patients", self.patients, MAX_PATIENTS)
        _require_count("--batch", self.batch, MAX_PATIENTS)
        _require_count("--steps", self.steps, MAX_COUNT)
        if self.batch > self.patients:
            raise ConfigurationError(
                f"--batch is {self.batch}, more than --patients {self.patients}",
                hint="a step can look at every patient once, not more",
                code="BATCH_TOO_LARGE",
            )
        from fedward_common.privacy.calibration import require_delta_fits

        try:
            require_delta_fits(self.delta, self.patients)
        except PrivacyError as error:
            raise ConfigurationError(
                f"--delta: {error}", hint=error.hint, code=error.code
            ) from None

    @property
    def sampling_rate(self) -> float:
        """Give each patient's chance of being in a step."""
        return self.batch / self.patients


@dataclass(frozen=True)
class Answer:
    """What a command prints; its fields are the keys of `--json`."""

    epsilon: float
    delta: float
    noise_multiplier: float
    sampling_rate: float
    steps: int
    patients: int
    accountant: str


def epsilon_of_noise(schedule: Schedule, noise_multiplier: float) -> Answer:
    """Account for a given noise.

    Raises:
        ConfigurationError: The noise multiplier is no number above 0, or bounds nothing.
    """
    _require_above_zero("--noise-multiplier", noise_multiplier)
    from fedward_common.privacy.accountant import PLD
    from fedward_common.privacy.disclosures import SampledGaussian

    steps = SampledGaussian(noise_multiplier, schedule.sampling_rate, schedule.steps)
    epsilon = PLD.epsilon_of([steps], schedule.delta)
    if math.isinf(epsilon):
        raise ConfigurationError(
            f"--noise-multiplier {noise_multiplier:g} with --steps {schedule.steps} and --delta "
            f"{schedule.delta:g}: no epsilon can be given",
            hint="more noise, or a larger delta",
        )
    return _answer(schedule, epsilon, noise_multiplier)


def noise_for_epsilon(schedule: Schedule, epsilon: float) -> Answer:
    """Find the noise for an epsilon; the answer's epsilon is what that noise comes to.

    Raises:
        ConfigurationError: The epsilon is no number above 0, or no noise is enough for it.
    """
    _require_above_zero("--epsilon", epsilon)
    from fedward_common.privacy.calibration import noise_multiplier_for

    try:
        noise_multiplier = noise_multiplier_for(
            epsilon,
            schedule.delta,
            sampling_rate=schedule.sampling_rate,
            num_steps=schedule.steps,
        )
    except PrivacyError as error:
        raise ConfigurationError(
            f"--epsilon: {error}", hint="a larger one, fewer steps, or a larger delta"
        ) from None
    return epsilon_of_noise(schedule, noise_multiplier)


def show(answer: Answer, *, json_output: bool) -> None:
    """Print an answer as a table, or as one JSON object."""
    if json_output:
        sys.stdout.write(json.dumps(asdict(answer), indent=1) + "\n")
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in _rows(answer):
        table.add_row(name, value)
    Console(highlight=False).print(table)


def _rows(answer: Answer) -> list[tuple[str, str]]:
    return [
        ("epsilon", f"{answer.epsilon:.4f}"),
        ("delta", f"{answer.delta:g}"),
        ("noise multiplier", f"{answer.noise_multiplier:g}"),
        ("patients", str(answer.patients)),
        ("chance of a patient to be in a step", f"{answer.sampling_rate:.4g}"),
        ("steps of the run", str(answer.steps)),
        ("accountant", answer.accountant),
    ]


def _answer(schedule: Schedule, epsilon: float, noise_multiplier: float) -> Answer:
    from fedward_common.privacy.accountant import PLD

    return Answer(
        epsilon, schedule.delta, noise_multiplier, schedule.sampling_rate, schedule.steps,
        schedule.patients, PLD.name,
    )  # fmt: skip


def _require_count(option: str, count: int, largest: int) -> None:
    if not 1 <= count <= largest:
        raise ConfigurationError(f"{option} is {count}", hint=f"from 1 to {largest}")


def _require_above_zero(option: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ConfigurationError(f"{option} is {value}", hint="a finite number above 0")
