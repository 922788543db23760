"""A clipping norm that follows a quantile of the patients' gradient norms.

Each step releases, besides the gradient, how many patients stayed within the norm. A patient's bit
is centred to -1/2 or 1/2, so that one patient more or less moves the sum by 1/2 and no more.

Source: Andrew et al. 2021, arXiv:1905.03871, algorithm 1 and theorem 1, geometric update. Patients
are drawn independently here, so means are over the expected number, which tells nothing.
"""

import math

from fedward_common.errors import PrivacyError
from fedward_common.job.privacy_section import AdaptiveClippingSection

_SMALLEST_NORM, _LARGEST_NORM = 1e-9, 1e9


def gradient_noise_multiplier(planned: float, count: float) -> float:
    """Give the gradient's multiplier, so that it and the count together have the planned one.

    With z planned and s the standard deviation of the count, (z^-2 - (2 s)^-2)^(-1/2): the
    inverse of the accountant's combination (z_gradient^-2 + (2 s)^-2)^(-1/2).

    Raises:
        PrivacyError: `COUNT_NOISE_TOO_SMALL`, the count alone would use all of it, or more.
    """
    if 2 * count <= planned:
        raise PrivacyError(
            f"privacy.adaptive_clipping.count_noise_multiplier is {count}; with a noise multiplier "
            f"of {planned:.4g} more than {planned / 2:.4g} is needed",
            hint="a larger one costs the gradient next to nothing",
            code="COUNT_NOISE_TOO_SMALL",
        )
    return 1 / math.sqrt(planned**-2 - (2 * count) ** -2)


def next_clipping_norm(
    norm: float,
    noisy_centred_count: float,
    expected_patients: float,
    section: AdaptiveClippingSection,
) -> float:
    """Move the norm towards the target quantile; post-processing of the noisy count alone.

    Args:
        norm: Of this step.
        noisy_centred_count: Patients within the norm less half of the drawn ones, plus normal
            noise of standard deviation `section.count_noise_multiplier`.
        expected_patients: Sampling rate times patients.
        section: The job's.

    Returns:
        The norm of the next step, within 1e-9 and 1e9.
    """
    share = noisy_centred_count / expected_patients + 0.5
    exponent = -section.learning_rate * (share - section.target_quantile)
    # No overflow in exp, however small the expected number.
    moved = norm * math.exp(min(max(exponent, -50.0), 50.0))
    return min(max(moved, _SMALLEST_NORM), _LARGEST_NORM)
