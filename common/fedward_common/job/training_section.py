"""`[training]` and its tables: the work of one site in one round."""

from dataclasses import dataclass, field
from typing import Literal

from fedward_common.job.checks import require, require_between


@dataclass(frozen=True)
class LossSection:
    """`[training.loss]`."""

    name: Literal["cross-entropy", "focal", "dice", "dice-cross-entropy"] = "cross-entropy"
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()
    gamma: float = 2.0

    def __post_init__(self) -> None:
        require_between("training.loss.label_smoothing", self.label_smoothing, 0, 0.5)
        require_between("training.loss.gamma", self.gamma, 0, 10)
        require(
            all(weight > 0 for weight in self.class_weights),
            "training.loss.class_weights", "has a weight of 0 or less", "weights above 0",
        )  # fmt: skip
        require(
            self.label_smoothing == 0 or self.name == "cross-entropy",
            "training.loss.label_smoothing", f"does nothing with {self.name!r}",
            "only cross-entropy takes label smoothing",
        )  # fmt: skip
        require(
            not self.class_weights or self.name != "dice",
            "training.loss.class_weights", "does nothing with 'dice'", "leave it out",
        )  # fmt: skip


@dataclass(frozen=True)
class OptimizerSection:
    """`[training.optimizer]`: each site's own optimizer, made anew every round."""

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    learning_rate: float = 0.05
    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        at = "training.optimizer"
        require_between(f"{at}.learning_rate", self.learning_rate, 0, 100, low_open=True)
        require_between(f"{at}.momentum", self.momentum, 0, 0.9999)
        require_between(f"{at}.weight_decay", self.weight_decay, 0, 10)
        require(
            self.momentum == 0 or self.name == "sgd",
            f"{at}.momentum", f"does nothing with {self.name!r}", "only sgd takes momentum",
        )  # fmt: skip
        require(
            self.weight_decay == 0 or self.name == "adamw",
            f"{at}.weight_decay", f"is decoupled decay, which {self.name!r} does not have",
            "use adamw, or training.l2 for a penalty in the loss",
        )  # fmt: skip


@dataclass(frozen=True)
class ScheduleSection:
    """`[training.schedule]`: the learning rate over the steps of the whole run."""

    name: Literal["constant", "exponential", "cosine"] = "constant"
    final_fraction: float = 0.01
    warmup_rounds: int = 0

    def __post_init__(self) -> None:
        at = "training.schedule"
        require_between(f"{at}.final_fraction", self.final_fraction, 0, 1)
        require_between(f"{at}.warmup_rounds", self.warmup_rounds, 0, 100_000)
        require(
            self.name != "exponential" or self.final_fraction > 0,
            f"{at}.final_fraction", "is 0", "exponential decay never gets there: a share above 0",
        )  # fmt: skip


@dataclass(frozen=True)
class AugmentationSection:
    """`[training.augmentation]`: random changes to each training image; 0 or [] switches one off.

    `flip` lists the axes by name (`"left-right"` is the last axis, `"up-down"` the one before,
    `"front-back"` the first of three); `shift` is a share of the image's length; `scale` and
    `intensity` are the largest relative change; `noise` a standard deviation after normalisation.
    """

    flip: tuple[Literal["left-right", "up-down", "front-back"], ...] = ()
    shift: float = 0.0
    rotate_degrees: float = 0.0
    scale: float = 0.0
    intensity: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        at = "training.augmentation"
        require_between(f"{at}.shift", self.shift, 0, 0.5)
        require_between(f"{at}.rotate_degrees", self.rotate_degrees, 0, 180)
        require_between(f"{at}.scale", self.scale, 0, 0.9)
        require_between(f"{at}.intensity", self.intensity, 0, 0.9)
        require_between(f"{at}.noise", self.noise, 0, 10)


@dataclass(frozen=True)
class TrainingSection:
    """`[training]`: the work of one site in one round.

    Exactly one of `sampling_rate` (share of the site's patients in a step) and `batch_patients`
    (their number) is given. `physical_batch_size` bounds the memory of private training, which
    goes through a step's patients in parts of this size; it changes no result but rounding.
    `proximal_mu` is FedProx's: it holds each site's weights near the round's global ones.
    """

    local_steps: int
    sampling_rate: float | None = None
    batch_patients: int | None = None
    l1: float = 0.0
    l2: float = 0.0
    proximal_mu: float = 0.0
    mixed_precision: bool = False
    physical_batch_size: int = 64
    optimizer: OptimizerSection = field(default_factory=OptimizerSection)
    schedule: ScheduleSection = field(default_factory=ScheduleSection)
    loss: LossSection = field(default_factory=LossSection)
    augmentation: AugmentationSection = field(default_factory=AugmentationSection)

    def __post_init__(self) -> None:
        require_between("training.local_steps", self.local_steps, 1, 100_000)
        require(
            (self.sampling_rate is None) != (self.batch_patients is None),
            "training", "needs exactly one of sampling_rate and batch_patients",
            "sampling_rate = 0.05 takes 5 % of a site's patients, batch_patients = 32 takes 32",
        )  # fmt: skip
        if self.sampling_rate is not None:
            require_between("training.sampling_rate", self.sampling_rate, 0, 1, low_open=True)
        if self.batch_patients is not None:
            require_between("training.batch_patients", self.batch_patients, 1, 100_000)
        require_between("training.physical_batch_size", self.physical_batch_size, 1, 100_000)
        require_between("training.l1", self.l1, 0, 10)
        require_between("training.l2", self.l2, 0, 10)
        require_between("training.proximal_mu", self.proximal_mu, 0, 1000)
