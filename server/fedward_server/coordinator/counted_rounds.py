"""Which of a site's rounds were counted last, so that it knows which of its states is the run's.

A site cannot see whether its answer came in time, or whether the round met its quorum.
"""

from collections.abc import Collection, Sequence

from fedward_common.job.job_file import Job


def last_counted_rounds(
    job: Job, participants: Sequence[Sequence[str]], sites: Collection[str]
) -> dict[str, int]:
    """Give the last committed round that each of `sites` took part in; of the others nothing.

    Empty where the job's sites keep nothing between rounds.

    Args:
        job: Its strategy decides.
        participants: One list of sites a committed round.
        sites: Whose rounds are wanted.
    """
    if job.strategy.name != "scaffold":
        return {}
    missing, found = set(sites), dict[str, int]()
    for number in range(len(participants), 0, -1):
        for site in missing.intersection(participants[number - 1]):
            found[site] = number
            missing.remove(site)
        if not missing:
            break
    return found
