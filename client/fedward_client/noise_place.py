"""Where the noise of a private round is drawn: the site's own setting, kept with every round."""

from typing import Literal

NoisePlace = Literal["cpu", "device"]


def noise_place(device_type: str, *, device_noise: bool) -> NoisePlace:
    """Say where to draw: on the device only where the site allows it and its generator is CUDA's.

    Args:
        device_type: What the round trains on, such as "cpu" or "cuda".
        device_noise: `[privacy] device_noise` of the site's policy.
    """
    return "device" if device_noise and device_type == "cuda" else "cpu"
