"""Key encapsulation with a memory: what one run made, another run makes again."""

from collections.abc import Iterable

from fedward_common.crypto.key_agreement import HybridPublicKey, Kem, SystemKem
from fedward_common.crypto.secret_bytes import SecretBytes

Made = tuple[bytes, SecretBytes]


class RecordedKem:
    """Gives (ciphertext, secret) in the order they were recorded, whatever the key is."""

    def __init__(self, recorded: Iterable[Made]) -> None:
        self._rest = list(recorded)

    def encapsulate(self, public: HybridPublicKey) -> Made:
        return self._rest.pop(0)


class RecordingKem:
    """Passes on what another makes and keeps it, so that `replay` can give it again."""

    def __init__(self, kem: Kem | None = None) -> None:
        self._kem = kem or SystemKem()
        self._made: list[Made] = []

    def encapsulate(self, public: HybridPublicKey) -> Made:
        self._made.append(self._kem.encapsulate(public))
        return self._made[-1]

    def replay(self) -> RecordedKem:
        return RecordedKem(self._made)
