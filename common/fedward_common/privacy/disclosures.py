"""What a run releases about its patients, as values that an accountant reads.

A disclosure names a mechanism, its parameters and how often it was used. It is valid once built,
and knows nothing of epsilon: pairs (epsilon, delta) are never added, disclosures are composed.
The plain form is what a ledger keeps; it is read back strictly.
"""

import dataclasses
import math
import numbers
from dataclasses import dataclass
from typing import Any

from fedward_common.errors import PrivacyError

# Neither bound is a matter of privacy: a count beyond it is a mistake, and would take for ever.
MAX_COUNT = 10**9
MAX_REASON_CHARACTERS = 200


@dataclass(frozen=True)
class SampledGaussian:
    """The Gaussian mechanism on a Poisson sample of the patients, step after step.

    Args:
        noise_multiplier: Standard deviation of the noise over the L2 sensitivity, above 0.
        sampling_rate: Each patient's own chance of being in a step's sample, in (0, 1].
        num_steps: How many steps, 1 or more; later ones may depend on what earlier ones released.
    """

    noise_multiplier: float
    sampling_rate: float
    num_steps: int

    def __post_init__(self) -> None:
        _check_multiplier(self)
        _check_rate(self)
        _check_count(self, "num_steps")


@dataclass(frozen=True)
class Gaussian:
    """The Gaussian mechanism on all patients.

    Args:
        noise_multiplier: Standard deviation of the noise over the L2 sensitivity, above 0.
        num_releases: How many releases, 1 or more.
    """

    noise_multiplier: float
    num_releases: int

    def __post_init__(self) -> None:
        _check_multiplier(self)
        _check_count(self, "num_releases")


@dataclass(frozen=True)
class JointSteps:
    """Steps whose noise several sites share, in integers; each site samples its own patients.

    Args:
        noise_multiplier: Standard deviation of the honest sites' noise together, over the
            sensitivity of the rounded sum: what it is worth as real Gaussian noise.
        sampling_rate: Each patient's own chance of being in a step's sample, in (0, 1].
        num_steps: How many steps, 1 or more.
        delta_slack_per_step: What each step adds to delta because shares of integer noise are
            not quite one Gaussian, in [0, 1).
    """

    noise_multiplier: float
    sampling_rate: float
    num_steps: int
    delta_slack_per_step: float

    def __post_init__(self) -> None:
        _check_multiplier(self)
        _check_rate(self)
        _check_count(self, "num_steps")
        slack = _real(self, "delta_slack_per_step")
        if not 0 <= slack < 1:
            raise _invalid(self, "delta_slack_per_step", slack, "a number from 0 to below 1")


@dataclass(frozen=True)
class Unbounded:
    """Training without differential privacy: no epsilon bounds it.

    Args:
        reason: Why there is no bound, for people; never about a patient. One printable line.
    """

    reason: str

    def __post_init__(self) -> None:
        text = self.reason
        is_line = isinstance(text, str) and bool(text.strip()) and text.isprintable()
        if not is_line or len(text) > MAX_REASON_CHARACTERS:
            raise _invalid(
                self, "reason", "no such line", f"one line of 1 to {MAX_REASON_CHARACTERS} letters"
            )


Disclosure = SampledGaussian | Gaussian | JointSteps | Unbounded

_KINDS: dict[str, type[Disclosure]] = {
    "sampled-gaussian": SampledGaussian,
    "gaussian": Gaussian,
    "joint-steps": JointSteps,
    "unbounded": Unbounded,
}
_KIND_OF = {type_: kind for kind, type_ in _KINDS.items()}


def to_plain(disclosure: Disclosure) -> dict[str, Any]:
    """Give a disclosure as a table of JSON values, for a ledger.

    Raises:
        PrivacyError: `UNKNOWN_DISCLOSURE`: a type that the ledger has no word for.
    """
    kind = _KIND_OF.get(type(disclosure))
    if kind is None:
        raise unknown_disclosure(type(disclosure).__name__)
    return {"kind": kind, **dataclasses.asdict(disclosure)}


def from_plain(table: object) -> Disclosure:
    """Read what `to_plain` wrote.

    Args:
        table: JSON values; a whole number is no float here, and a key more is an error.

    Raises:
        PrivacyError: `UNKNOWN_DISCLOSURE`: another kind. `INVALID_DISCLOSURE`: a key or a value
            that is not of this kind.
    """
    kind = table.get("kind") if isinstance(table, dict) else None
    type_ = _KINDS.get(kind) if isinstance(kind, str) else None
    if not isinstance(table, dict) or type_ is None:
        raise unknown_disclosure(kind if isinstance(kind, str) else type(table).__name__)
    wanted: dict[str, Any] = {field.name: field.type for field in dataclasses.fields(type_)}
    if table.keys() - {"kind"} != wanted.keys():
        raise PrivacyError(
            f"a disclosure of kind {kind} has the keys {', '.join(sorted(map(str, table)))}",
            hint=f"exactly kind, {', '.join(wanted)}",
            code="INVALID_DISCLOSURE",
        )
    for name, wanted_type in wanted.items():
        if type(table[name]) is not wanted_type:
            raise PrivacyError(
                f"{kind}.{name} is of type {type(table[name]).__name__}",
                hint=f"a value of type {wanted_type.__name__}",
                code="INVALID_DISCLOSURE",
            )
    return type_(**{name: table[name] for name in wanted})


def unknown_disclosure(name: str) -> PrivacyError:
    """Give the refusal of something that nobody here knows how to account for."""
    return PrivacyError(
        f"a disclosure of kind {name[:50]!r}: known are {', '.join(_KINDS)}",
        hint="a newer version of Fedward may have written it; nothing trains on a guess",
        code="UNKNOWN_DISCLOSURE",
    )


def _check_multiplier(disclosure: Disclosure) -> None:
    multiplier = _real(disclosure, "noise_multiplier")
    if not 0 < multiplier < math.inf:
        raise _invalid(disclosure, "noise_multiplier", multiplier, "a finite number above 0")


def _check_rate(disclosure: Disclosure) -> None:
    rate = _real(disclosure, "sampling_rate")
    if not 0 < rate <= 1:
        raise _invalid(disclosure, "sampling_rate", rate, "above 0, at most 1")


def _check_count(disclosure: Disclosure, name: str) -> None:
    """Keep a count as an int of Python, whatever kind of integer came."""
    count = getattr(disclosure, name)
    is_integer = isinstance(count, numbers.Integral) and not isinstance(count, bool)
    if not is_integer or not 1 <= count <= MAX_COUNT:
        raise _invalid(disclosure, name, count, f"a whole number from 1 to {MAX_COUNT}")
    object.__setattr__(disclosure, name, int(count))


def _real(disclosure: Disclosure, name: str) -> float:
    """Keep a number as a float of Python: equal disclosures are written alike."""
    value = getattr(disclosure, name)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise _invalid(disclosure, name, type(value).__name__, "a number")
    object.__setattr__(disclosure, name, float(value))
    return float(value)


def _invalid(disclosure: Disclosure, name: str, came: object, needed: str) -> PrivacyError:
    return PrivacyError(
        f"{_KIND_OF[type(disclosure)]}: {name} is {came}", hint=needed, code="INVALID_DISCLOSURE"
    )
