"""The sections of a job besides `[training]`, each valid once built."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from fedward_common.annotation import NOT_ANNOTATED_VOXEL
from fedward_common.job.checks import (
    require,
    require_between,
    require_one_line,
    require_printable,
)

Option = bool | int | float | str | tuple[int, ...]


@dataclass(frozen=True)
class JobSection:
    """`[job]`: what the run is called and why it may be done."""

    name: str
    rounds: int
    purpose: str = ""
    protocol_reference: str = ""
    ethics_reference: str = ""

    def __post_init__(self) -> None:
        require_one_line("job.name", self.name)
        require_printable("job.purpose", self.purpose)
        require_printable("job.protocol_reference", self.protocol_reference)
        require_printable("job.ethics_reference", self.ethics_reference)
        require_between("job.rounds", self.rounds, 1, 100_000)


@dataclass(frozen=True)
class TaskClass:
    """One class: its number in labels and masks, its name, and what it means to everybody."""

    id: int
    name: str
    definition: str = ""

    def __post_init__(self) -> None:
        require_one_line("task.classes.name", self.name)
        require_printable("task.classes.definition", self.definition)


@dataclass(frozen=True)
class SplitFractions:
    """`[task.split]`: shares of the patients, where the cohort's labels bring no split."""

    train: float = 0.7
    validation: float = 0.15
    test: float = 0.15

    def __post_init__(self) -> None:
        shares = (self.train, self.validation, self.test)
        require(
            all(0 <= share <= 1 for share in shares) and abs(sum(shares) - 1) < 1e-9,
            "task.split", f"is {shares}", "three shares from 0 to 1 that add up to 1",
        )  # fmt: skip


@dataclass(frozen=True)
class TaskSection:
    """`[task]`: what is predicted.

    In segmentation, class 0 is the background. With `multi_label` the classes are findings of their
    own: an image has any number of them, and each may be not annotated.
    """

    kind: Literal["classification", "segmentation"]
    classes: tuple[TaskClass, ...]
    split: SplitFractions = field(default_factory=SplitFractions)
    multi_label: bool = False

    def __post_init__(self) -> None:
        require(
            not self.multi_label or self.kind == "classification",
            "task.multi_label", f"is true for {self.kind}",
            "only classification takes it; a voxel is of one class",
        )  # fmt: skip
        ids = [c.id for c in self.classes]
        fewest, most = self._num_classes_allowed()
        require(
            fewest <= len(ids) <= most and ids == list(range(len(ids))),
            "task.classes", f"has ids {ids}",
            f"{fewest} to {most} classes with ids 0, 1, 2, ... in order",
        )  # fmt: skip
        names = [c.name for c in self.classes]
        require(len(set(names)) == len(names), "task.classes", "has two of one name", "rename one")

    def _num_classes_allowed(self) -> tuple[int, int]:
        if self.kind == "segmentation":
            return 2, NOT_ANNOTATED_VOXEL  # which no class can have for its id
        return (1 if self.multi_label else 2), 256

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names in the order of the ids."""
        return tuple(c.name for c in self.classes)


@dataclass(frozen=True)
class ModelSection:
    """`[model]`: a name from the registry, its options, and where its weights begin."""

    name: str
    options: Mapping[str, Option] = field(default_factory=dict)
    start: str = "random"
    frozen: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataSection:
    """`[data]`: what every site turns its images into.

    `intensity = "window"` maps `window` to 0..1, clips, subtracts `mean` and divides by `std`;
    `"per-image"` gives each image mean 0 and standard deviation 1. `fit` brings an image to
    `image_size` by interpolation or by cropping and padding around its centre.
    """

    modality: str
    image_size: tuple[int, ...]
    channels: int = 1
    fit: Literal["resize", "crop-or-pad"] = "resize"
    intensity: Literal["window", "per-image"] = "per-image"
    window: tuple[float, float] = (0.0, 255.0)
    mean: float = 0.5
    std: float = 0.25

    def __post_init__(self) -> None:
        require(
            len(self.image_size) in (2, 3) and all(1 <= n <= 2048 for n in self.image_size),
            "data.image_size", f"is {list(self.image_size)}",
            "[rows, columns] or [slices, rows, columns], each 1 to 2048",
        )  # fmt: skip
        require(self.channels in (1, 3), "data.channels", f"is {self.channels}", "1 or 3")
        require(
            self.window[0] < self.window[1],
            "data.window", f"is {list(self.window)}", "the lower bound comes first",
        )  # fmt: skip
        require(self.std > 0, "data.std", f"is {self.std}", "a number above 0")

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""
        return len(self.image_size)


@dataclass(frozen=True)
class StrategySection:
    """`[strategy]`: how the coordinator makes one model of the sites' updates.

    `weighting = "bands"` weighs a site by the band of its patient count, at most
    `weight_cap_patients`; `"uniform"` counts each site once. `ema_decay` above 0 evaluates and
    keeps an exponential moving average of the global weights. `beta1`, `beta2` and `tau` are
    FedAdam's.
    """

    name: Literal["fedavg", "fedavgm", "fedadam", "scaffold", "median"] = "fedavg"
    learning_rate: float = 1.0
    momentum: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3
    weighting: Literal["bands", "uniform"] = "bands"
    weight_cap_patients: int = 1000
    ema_decay: float = 0.0

    def __post_init__(self) -> None:
        require_between("strategy.learning_rate", self.learning_rate, 0, 100, low_open=True)
        require_between("strategy.momentum", self.momentum, 0, 0.9999)
        require_between("strategy.ema_decay", self.ema_decay, 0, 0.99999)
        require_between("strategy.weight_cap_patients", self.weight_cap_patients, 1, 10**9)
        require(
            (self.name == "fedavgm") == (self.momentum > 0),
            "strategy.momentum", f"is {self.momentum} with {self.name!r}",
            "fedavgm needs a momentum above 0, no other strategy has one",
        )  # fmt: skip
        self._check_fedadam()

    def _check_fedadam(self) -> None:
        require_between("strategy.beta1", self.beta1, 0, 0.9999)
        require_between("strategy.beta2", self.beta2, 0, 0.9999)
        # Its square, in float32, must be above 0.
        require_between("strategy.tau", self.tau, 1e-9, 1)
        if self.name == "fedadam":
            require(
                self.learning_rate < 1,
                "strategy.learning_rate", f"is {self.learning_rate} with 'fedadam'",
                "below 1, such as 0.01: so far a weight moves in a round",
            )  # fmt: skip
            return
        for key in ("beta1", "beta2", "tau"):
            require(
                getattr(self, key) == getattr(StrategySection, key),
                f"strategy.{key}", f"does nothing with {self.name!r}", "only fedadam takes it",
            )  # fmt: skip


@dataclass(frozen=True)
class QuorumSection:
    """`[quorum]`: when a round counts, and how long it waits.

    After `acceptance_seconds` a run begins without sites that are away or paused, if enough
    others accepted it. An attempt that too few sites were connected for is repeated once enough
    are, or after `deadline_seconds`.
    """

    required_sites: int = 1
    minimum_share: float = 0.5
    acceptance_seconds: float = 300.0
    deadline_seconds: float = 3600.0
    attempts: int = 3

    def __post_init__(self) -> None:
        require_between("quorum.required_sites", self.required_sites, 1, 10_000)
        require_between("quorum.minimum_share", self.minimum_share, 0, 1)
        require_between("quorum.acceptance_seconds", self.acceptance_seconds, 0, 1e7)
        require_between("quorum.deadline_seconds", self.deadline_seconds, 0, 1e7, low_open=True)
        require_between("quorum.attempts", self.attempts, 1, 100)


@dataclass(frozen=True)
class EvaluationSection:
    """`[evaluation]`: how often, by what the best model is chosen, and when to stop early."""

    every: int = 1
    select: Literal["auto", "auc", "balanced_accuracy", "accuracy", "dice", "loss"] = "auto"
    early_stopping_evaluations: int = 0

    def __post_init__(self) -> None:
        require_between("evaluation.every", self.every, 1, 100_000)
        require_between(
            "evaluation.early_stopping_evaluations", self.early_stopping_evaluations, 0, 100_000
        )
