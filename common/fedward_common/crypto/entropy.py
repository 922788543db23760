"""Randomness as an argument: `os.urandom` in use, a replayed source in tests."""

from collections.abc import Callable

from fedward_common.errors import ConfigurationError

Entropy = Callable[[int], bytes]
"""Gives as many random bytes as it is asked for."""


def draw(entropy: Entropy, num_bytes: int) -> bytes:
    """Draw exactly `num_bytes`.

    Raises:
        ConfigurationError: The source gave fewer or more: a short key would be a weak one.
    """
    drawn = entropy(num_bytes)
    if len(drawn) != num_bytes:
        raise ConfigurationError(
            f"the source of randomness gave {len(drawn)} bytes, {num_bytes} are needed",
            hint="nothing was made of them; use the operating system's source",
        )
    return drawn
