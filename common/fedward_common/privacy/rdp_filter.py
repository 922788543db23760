"""Whether one more job fits, where each is chosen after the results of earlier ones were seen.

Composition theorems hold for parameters that were fixed before anything was released. A researcher
who reads one model and then writes the next job chooses parameters by results. A filter is a rule
for stopping that holds for such choices as well.

The rule here: at one fixed order alpha, the Renyi divergences of all disclosures add up to at most
the value that converts to (epsilon_cap, delta). Then everything that was ever admitted, together,
is (epsilon_cap, delta)-differentially private, however the parameters were chosen.

Theorems used:
- The Renyi filter of a fixed order: Feldman and Zrnic 2021, arXiv:2008.11193, section 4; Lecuyer
  2021, arXiv:2103.01379. Jobs that run at the same time: Haney et al. 2023, arXiv:2309.05901.
- From order alpha to (epsilon, delta): Canonne, Kamath and Steinke 2020, arXiv:2004.00010,
  proposition 12.
- Order alpha of the Poisson-sampled Gaussian, the larger of both directions: Mironov, Talwar and
  Zhang 2019, arXiv:1908.10530, theorem 5 and equation 7.

The order may not depend on what was released: it is a function of epsilon_cap and delta alone. To
take, each time, whichever order fits best is not covered by these theorems; nor is it valid to stop
by an exact composition of all parameters alone (arXiv:2602.15815).
"""

import math
from collections.abc import Sequence

import numpy as np

from fedward_common.errors import PrivacyError
from fedward_common.privacy.accountant import merge, require_delta
from fedward_common.privacy.disclosures import Disclosure

# Orders to choose from, 1.05 to about 40,000, each a twentieth further from 1 than the last.
ORDERS = tuple(1.0 + 0.05 * 1.05**step for step in range(280))
# The best order for plain Gaussian noise admits nothing at all of a job with little noise and a
# small sample. An order this much nearer to 1 costs the others a tenth.
_NEARER_TO_ONE = 0.75
# Integer noise takes from delta: never more than this share, set aside before anything is known.
_SLACK_SHARE = 0.01
# More than quadrature and rounding can take from a step: of its divergence, and of its logarithm.
_RELATIVE_ERROR = 1e-9
_ABSOLUTE_ERROR = 1e-14
_MAX_POINTS = 2**22


def admits(
    spent: Sequence[Disclosure], planned: Disclosure, *, epsilon_cap: float, delta: float
) -> bool:
    """Say whether `planned` may follow `spent`, in any order and chosen in any way.

    Args:
        spent: Everything that was admitted under the same cap and delta, whatever became of it.
        planned: What comes next.
        epsilon_cap: Cap of everything together; infinity admits all.
        delta: The delta of that cap.

    Raises:
        PrivacyError: `UNKNOWN_DISCLOSURE`, `INVALID_DELTA` or `INVALID_EPSILON`.
    """
    require_delta(delta)
    if not epsilon_cap > 0:
        raise PrivacyError(
            f"the cap is epsilon {epsilon_cap}", hint="a number above 0", code="INVALID_EPSILON"
        )
    together = merge([*spent, planned])
    if epsilon_cap == math.inf:
        return True
    if not together.is_bounded or together.delta_slack > _SLACK_SHARE * delta:
        return False
    order = filter_order(epsilon_cap, delta)
    divergence = order / 2 * together.gaussian_precision + math.fsum(
        one.num_steps * sampled_divergence(one.noise_multiplier, one.sampling_rate, order)
        for one in together.steps
    )
    divergence += _RELATIVE_ERROR * divergence
    return divergence <= _divergence_cap(order, epsilon_cap, delta)


def filter_order(epsilon_cap: float, delta: float) -> float:
    """Give the one order that a cap is held at."""
    best = max(ORDERS, key=lambda order: _divergence_cap(order, epsilon_cap, delta) / order)
    return 1.0 + _NEARER_TO_ONE * (best - 1.0)


def _divergence_cap(order: float, epsilon_cap: float, delta: float) -> float:
    """Give the divergence at this order that is worth (epsilon_cap, delta)."""
    usable = (1.0 - _SLACK_SHARE) * delta
    return epsilon_cap - math.log1p(-1.0 / order) + math.log(usable * order) / (order - 1.0)


def sampled_divergence(noise_multiplier: float, sampling_rate: float, order: float) -> float:
    """Give the Renyi divergence of one step of the Poisson-sampled Gaussian mechanism.

    ln E[(1 - q + q exp((2 x - 1) / (2 sigma^2)))^order] / (order - 1) for x from N(0, sigma^2).

    Args:
        noise_multiplier: sigma, above 0.
        sampling_rate: q, above 0 and below 1.
        order: Above 1.

    Returns:
        The divergence, too large by 1e-14 / (order - 1) or so; infinity where it would take too
        many points.
    """
    sigma = noise_multiplier
    # The integrand is analytic up to pi sigma^2 off the real line, so equal steps converge fast.
    spacing = min(sigma / 8, sigma**2 / 2)
    low, high = -12.0 * sigma, order + 12.0 * sigma
    if high - low > _MAX_POINTS * spacing:
        return math.inf
    x = np.arange(low, high + spacing, spacing)
    log_ratio = np.logaddexp(
        math.log1p(-sampling_rate), math.log(sampling_rate) + (2 * x - 1) / (2 * sigma**2)
    )
    logs = order * log_ratio - x**2 / (2 * sigma**2)
    largest = float(logs.max())
    total = float(np.exp(logs - largest).sum()) * spacing / (sigma * math.sqrt(2 * math.pi))
    return max(0.0, largest + math.log(total) + _ABSOLUTE_ERROR) / (order - 1.0)
