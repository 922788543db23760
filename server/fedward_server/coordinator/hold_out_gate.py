"""Whether a round's new weights may stand: judged on public images before anything is written.

The sum of a round is made into weights, these are evaluated on the job's hold-out set, and where
they are worse than those before by more than the job allows, everything that the sum moved is put
back: weights, moving average and the server optimizer's state. What is compared are the weights
that sites would train on, not their moving average, which would hide a bad round for a while.

The decision follows from weights and set alone: a run that was killed before its journal had the
decision decides the same when it goes on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fedward_common.errors import ConfigurationError
from fedward_server.coordinator.global_model import GlobalModel
from fedward_server.coordinator.hold_out_set import HOLD_OUT_FILE, read_hold_out
from fedward_server.coordinator.round_sum import RoundSum
from fedward_server.coordinator.run_setup import RunSetup

ValueOf = Callable[[bytes], float | None]
"""Of weights, their figure on the set; None where it is not finite."""


@dataclass(frozen=True)
class Verdict:
    """What the gate found of one round's weights.

    Attributes:
        metric: Name of the figure.
        value: Of the new weights; None where their output is not finite.
        value_before: Of the weights before them.
        is_rejected: The new weights are not taken.
    """

    metric: str
    value: float | None
    value_before: float
    is_rejected: bool

    def to_entry(self) -> dict[str, Any]:
        """Give what the journal keeps."""
        return {"metric": self.metric, "value": self.value, "value_before": self.value_before}

    def __str__(self) -> str:
        value = "not finite" if self.value is None else f"{self.value:.4f}"
        return f"{self.metric} on the hold-out set is {value}, it was {self.value_before:.4f}"


class HoldOutGate:
    """Commits rounds, or undoes what a commit did.

    Args:
        metric: Name of the figure; of a loss, less is better.
        largest_drop: By how much it may become worse in one round.
        value_of: Evaluates weights.
        weights: The run's so far, float32.

    Raises:
        ConfigurationError: `HOLD_OUT_UNDEFINED`: these weights have no value on the set.
    """

    def __init__(self, metric: str, largest_drop: float, value_of: ValueOf, weights: bytes) -> None:
        self._metric, self._largest_drop, self._value_of = metric, largest_drop, value_of
        value = value_of(weights)
        if value is None:
            raise ConfigurationError(
                f"the run's weights have no {metric} on the hold-out set: what they give is not "
                "finite",
                hint="begin with other weights (model.start)",
                code="HOLD_OUT_UNDEFINED",
            )
        self._value_before = value

    def commit(self, total: RoundSum, model: GlobalModel, round_number: int) -> Verdict:
        """Make the next global weights of a round's sum, and undo it where they are too bad.

        Args:
            total: The round's sum, which belongs to `model`; empty afterwards.
            model: Afterwards at its new state, or at the state before.
            round_number: Of the round.

        Raises:
            FedwardError: As `RoundSum.commit`.
        """
        before = model.state()
        total.commit(round_number)
        value, value_before = self._value_of(model.weights), self._value_before
        is_rejected = value is None or self._fall(value_before, value) > self._largest_drop
        if is_rejected:
            model.go_back_to(before)
            total.clear()
        elif value is not None:
            self._value_before = value
        return Verdict(self._metric, value, value_before, is_rejected)

    def _fall(self, before: float, after: float) -> float:
        return after - before if self._metric == "loss" else before - after


class NoGate:
    """Commits every round: the job names no hold-out set."""

    def commit(self, total: RoundSum, model: GlobalModel, round_number: int) -> None:
        """Make the next global weights of a round's sum, which is empty afterwards."""
        total.commit(round_number)


def gate_of(setup: RunSetup, model: GlobalModel) -> HoldOutGate | NoGate:
    """Give the gate that a run's job asks for, with the set of the run's folder.

    Args:
        setup: Of the run.
        model: At the weights that the next round is compared with.

    Raises:
        ConfigurationError: The set is gone, changed or of no use, or says nothing of the weights.
    """
    job = setup.job
    if job.hold_out is None:
        return NoGate()
    # Imported here: no other coordinator needs torch.
    from fedward_server.coordinator.hold_out_evaluation import HoldOutEvaluation

    metric = job.hold_out.metric_of(job.selection_metric)
    held = read_hold_out(setup.folder / HOLD_OUT_FILE, job)
    evaluation = HoldOutEvaluation(job, held, metric)
    return HoldOutGate(metric, job.hold_out.largest_drop, evaluation.value_of, model.weights)
