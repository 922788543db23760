"""What a job with secure aggregation must say, as far as it shows before the sites are known.

With how many sites a run is set up shows later; here the fewest that the job speaks of are taken.
"""

from typing import TYPE_CHECKING

from fedward_common.job.checks import require

if TYPE_CHECKING:
    from fedward_common.job.job_file import Job


def check_secure_aggregation_fits_job(job: "Job") -> None:
    """Refuse what cannot go with `[secure_aggregation]`.

    Raises:
        ConfigurationError: One line that names the key, and a hint.
    """
    section, is_joint = job.secure_aggregation, job.privacy.mechanism == "joint"
    require(
        section.mean_norm_limit == 0 or (section.enabled and not is_joint),
        "secure_aggregation.mean_norm_limit", f"is {section.mean_norm_limit:g}",
        "0: it is for sums of updates, with enabled = true and no joint mechanism",
    )  # fmt: skip
    if section.enabled and not is_joint:
        _check_fraction_bits(job)


def _check_fraction_bits(job: "Job") -> None:
    """Try the codec with the fewest sites that the job wants."""
    # Imported here: jobs are read by commands that start at once.
    from fedward_common.secagg.codec import Section, VectorCodec

    section = job.secure_aggregation
    ranges = {"update": section.value_range}
    if job.strategy.name == "scaffold":
        ranges["control-variate-change"] = section.control_variate_range
    VectorCodec(
        bits=section.bits,
        max_sites=max(section.minimum_sites, job.quorum.required_sites),
        sections=tuple(Section(name, 1, value_range) for name, value_range in ranges.items()),
    )
