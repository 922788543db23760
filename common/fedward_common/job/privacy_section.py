"""`[privacy]`: the protection each patient gets, and what changes it.

Nothing here is about speed: `training.physical_batch_size` bounds memory and changes no guarantee.
"""

from dataclasses import dataclass, field
from typing import Literal

from fedward_common.job.checks import require, require_between

MAX_EPSILON = 1000.0
MIN_NOISE_MULTIPLIER = 0.01


@dataclass(frozen=True)
class AdaptiveClippingSection:
    """`[privacy.adaptive_clipping]`: a clipping norm that follows a quantile of the gradients.

    Each step releases the share of patients below the norm, with noise of `count_noise_multiplier`
    (standard deviation of the count); it is accounted together with the gradient.

    Source: Andrew et al. 2021, arXiv:1905.03871, algorithm 1.
    """

    enabled: bool = False
    target_quantile: float = 0.5
    learning_rate: float = 0.2
    count_noise_multiplier: float = 10.0

    def __post_init__(self) -> None:
        at = "privacy.adaptive_clipping"
        require_between(f"{at}.target_quantile", self.target_quantile, 0, 1, low_open=True)
        require_between(f"{at}.learning_rate", self.learning_rate, 0, 10, low_open=True)
        require_between(f"{at}.count_noise_multiplier", self.count_noise_multiplier, 0.1, 1e6)


@dataclass(frozen=True)
class PrivacySection:
    """`[privacy]`: no default for the mechanism.

    Exactly one of `epsilon` (each site derives its own noise, within its own caps) and
    `noise_multiplier` (standard deviation of the noise over the clipping norm) is given, unless
    the mechanism is "none". `delta` is one constant for all sites. `augmentation_multiplicity`
    views of an image are averaged before a patient's gradient is clipped.

    With the joint mechanism, sums over sites are whole numbers: steps of 2**-`fraction_bits`,
    modulo 2**`ring_bits`. They are divided by `expected_batch_patients`, whoever was drawn.
    """

    mechanism: Literal["none", "per-site", "joint"]
    epsilon: float | None = None
    noise_multiplier: float | None = None
    delta: float | None = None
    clipping_norm: float = 1.0
    augmentation_multiplicity: int = 1
    expected_batch_patients: float | None = None
    fraction_bits: int = 16
    ring_bits: int = 32
    adaptive_clipping: AdaptiveClippingSection = field(default_factory=AdaptiveClippingSection)

    def __post_init__(self) -> None:
        self._check_joint_settings()
        if self.mechanism == "none":
            given = [
                n for n in ("epsilon", "noise_multiplier", "delta") if getattr(self, n) is not None
            ]
            require(
                not given, f"privacy.{given[0]}" if given else "", 'does nothing with "none"',
                'leave it out, or choose mechanism = "per-site"',
            )  # fmt: skip
            return
        require(
            (self.epsilon is None) != (self.noise_multiplier is None),
            "privacy", "needs exactly one of epsilon and noise_multiplier",
            "epsilon = 8.0 lets each site derive its noise",
        )  # fmt: skip
        require(self.delta is not None, "privacy.delta", "is missing", "for instance 1e-5")
        require_between("privacy.delta", self.delta or 0.0, 0, 0.1, low_open=True)
        if self.epsilon is not None:
            require_between("privacy.epsilon", self.epsilon, 0, MAX_EPSILON, low_open=True)
        if self.noise_multiplier is not None:
            require_between(
                "privacy.noise_multiplier", self.noise_multiplier, MIN_NOISE_MULTIPLIER, 1e6
            )
        require_between("privacy.clipping_norm", self.clipping_norm, 0, 1e6, low_open=True)
        require_between("privacy.augmentation_multiplicity", self.augmentation_multiplicity, 1, 64)

    def _check_joint_settings(self) -> None:
        require(
            self.mechanism == "joint" or self.expected_batch_patients is None,
            "privacy.expected_batch_patients", f"does nothing with {self.mechanism!r}",
            'leave it out: only mechanism = "joint" divides by one number for all sites',
        )  # fmt: skip
        if self.expected_batch_patients is not None:
            require_between(
                "privacy.expected_batch_patients", self.expected_batch_patients, 0, 1e9,
                low_open=True,
            )  # fmt: skip
        require_between("privacy.fraction_bits", self.fraction_bits, 0, 40)
        require_between("privacy.ring_bits", self.ring_bits, 2, 64)
        require(
            self.mechanism != "joint" or not self.adaptive_clipping.enabled,
            "privacy.adaptive_clipping", "cannot go with the joint mechanism",
            "one clipping norm stands in the manifest for all sites",
        )  # fmt: skip
