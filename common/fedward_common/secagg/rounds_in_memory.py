"""Which masked rounds a simulation may keep in memory alone, decided alike by all its parts.

What a simulated site and the coordinator keep of a round under way protects nothing there, and to
seal and write it is a third of what masks cost. Where it is lost, the round is done again from its
start, to the very same sum. Where it would not be the same, it is kept on disk.
"""

from fedward_common.job.job_file import Job

# In a node's configuration: names the Grid with whose end this memory ends. Sites of a simulation
# may be given it, and no hospital's node is.
ROUNDS_IN_MEMORY = "rounds-in-memory"

MAX_CONTRIBUTION_BYTES = 4 << 20
"""Of one site; a process may keep those of many."""

_WORD_BYTES = 4  # in memory, also where 24 bits travel


def may_be_in_memory(job: Job, num_parameters: int) -> bool:
    """Whether the rounds of training of a simulated run may be kept in memory alone.

    Not with noise, which is charged before it is drawn, nor with stochastic rounding; not with
    control variates, which a round changes at the site; and not in a job of a single attempt.

    Args:
        job: Of the run.
        num_parameters: Of its model.
    """
    return (
        job.secure_aggregation.enabled
        and job.privacy.mechanism == "none"
        and job.strategy.name != "scaffold"
        and not job.secure_aggregation.stochastic_rounding
        and job.quorum.attempts > 1
        and _WORD_BYTES * num_parameters <= MAX_CONTRIBUTION_BYTES
    )
