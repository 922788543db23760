"""Seeds derived from one run seed by name, so that no two purposes share a stream.

For simulation and for choices that protect nobody (batch order, augmentation). Privacy noise never
comes from here.
"""

import hashlib


def derive_seed(run_seed: int, *labels: str | int) -> int:
    """Derive a 63-bit seed for one purpose.

    The labels name the purpose, for instance `("train", site_id, round_number)`. Any state needed
    after a restart follows from them, so nothing random has to be stored.
    """
    text = "\x1f".join(["fedward-seed-v1", str(run_seed), *(str(label) for label in labels)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
