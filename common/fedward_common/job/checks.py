"""Range checks of job settings; each failure is one line with the key and a hint."""

from fedward_common.errors import ConfigurationError


def require(condition: bool, key: str, message: str, hint: str) -> None:
    """Refuse with `key message` and the hint unless `condition` holds."""
    if not condition:
        raise ConfigurationError(f"{key} {message}", hint=hint)


def require_between(
    key: str, value: float, low: float, high: float, *, low_open: bool = False
) -> None:
    """Refuse a value outside [low, high], or (low, high] with `low_open`."""
    inside = (low < value if low_open else low <= value) and value <= high
    require(
        inside, key, f"is {value}", f"{'above' if low_open else 'at least'} {low}, at most {high}"
    )
