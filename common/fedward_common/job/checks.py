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


def require_printable(key: str, text: str) -> None:
    """Refuse control and formatting characters but line breaks in a text that people will see.

    A job comes from another organisation; an escape sequence in it could forge what a hospital's
    terminal shows.
    """
    shown = text.replace("\n", " ").replace("\t", " ")
    require(shown.isprintable(), key, "has characters that cannot be shown", "use plain text")


def require_one_line(key: str, text: str) -> None:
    """Refuse a text that is not one printable line of 1 to 100 characters."""
    require(
        bool(text.strip()) and len(text) <= 100 and text.isprintable(),
        key, "is empty, longer than 100 characters, or not plain text", "give it a short name",
    )  # fmt: skip
