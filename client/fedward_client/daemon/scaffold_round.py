"""What a site does in a round besides training, where the job's strategy is SCAFFOLD."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fedward_client.daemon.own_variates import OwnVariates
from fedward_common.errors import MalformedMessageError, WeightsMismatchError
from fedward_common.job.job_file import TrainingSection
from fedward_common.models.parameter_spec import FlatWeights
from fedward_common.wire import messages
from fedward_common.wire.envelope import Arrays

if TYPE_CHECKING:
    from fedward_client.daemon.site_state import OpenRun, OpenSite
    from fedward_client.training.local_training import RoundOfTraining


@dataclass(frozen=True)
class ScaffoldRound:
    """The control variates that one round is trained with.

    Attributes:
        global_variate: c, as it came.
        own: c_i, of the last round of this site that was counted.
        counted_round: That round; 0 where there is none.
        store: Of this site's own.
    """

    global_variate: FlatWeights = field(repr=False)
    own: FlatWeights = field(repr=False)
    counted_round: int
    store: OwnVariates

    @property
    def correction(self) -> FlatWeights:
        """What is added to every gradient."""
        return self.global_variate - self.own

    def keep_change(
        self, round_: "RoundOfTraining", training: TrainingSection, update: FlatWeights
    ) -> FlatWeights:
        """Write the new c_i down, so that it is there before its answer leaves; give its change.

        Raises:
            TrainingError: `NON_FINITE`.
        """
        from fedward_client.training.control_variates import change_of_own_variate, sum_of_rates

        rates = sum_of_rates(training, round_)
        change = change_of_own_variate(update, self.global_variate, rates)
        self.store.keep(round_.round_number, self.own + change, counted_round=self.counted_round)
        return change


def scaffold_round_of(
    site: "OpenSite",
    run: "OpenRun",
    round_number: int,
    message: messages.TrainRound,
    arrays: Arrays,
) -> ScaffoldRound | None:
    """Give the control variates that a request is to be answered with; None without SCAFFOLD.

    Raises:
        WeightsMismatchError: The global control variate is missing, or fits no such model.
        MalformedMessageError: The round that was counted last is not before this one.
        CorruptFileError: This site's own control variate is gone or damaged.
    """
    if run.job.strategy.name != "scaffold":
        return None
    if messages.CONTROL_VARIATE not in arrays:
        raise WeightsMismatchError(f"the message has no array {messages.CONTROL_VARIATE!r}")
    counted = message.counted_rounds.get(site.site_id, 0)
    if not 0 <= counted < round_number:
        raise MalformedMessageError(
            f"round {counted} came as the one counted last before round {round_number}"
        )
    variate = run.network.spec.verify_flat(arrays[messages.CONTROL_VARIATE])
    store = OwnVariates(run.folder)
    return ScaffoldRound(variate, store.after(counted, variate.size), counted, store)
