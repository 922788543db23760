"""A copy of an office in one file, under the passphrase of its authority.

It holds the encrypted key and the register. Rounds have no secrets here: those are at the sites and
are never backed up.
"""

import os
from pathlib import Path

from fedward_common.atomic_files import write_atomically
from fedward_common.crypto.entropy import Entropy
from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.errors import ConfigurationError, CorruptFileError
from fedward_common.file_lock import held_lock
from fedward_common.wire.canonical_cbor import decode_canonically, encode_canonically
from fedward_server.consortium.office_folder import Office
from fedward_server.consortium.office_state import OfficeState
from fedward_server.consortium.passphrase import DEFAULT_LOG2_COST, open_at_rest, seal_at_rest

MAX_BACKUP_BYTES = 1 << 28

_KIND = "fedward office backup 1"
_FILES = ("authority.key", "register.jsonl")


def back_up(
    office: Office,
    passphrase: SecretBytes,
    *,
    entropy: Entropy = os.urandom,
    log2_cost: int = DEFAULT_LOG2_COST,
) -> bytes:
    """Give the encrypted copy.

    Raises:
        ConfigurationError: `PASSPHRASE_WRONG`: a backup that nobody can open is none.
    """
    office.open_authority(office.state(), passphrase)
    with held_lock(office.folder / ".lock"):
        files = {name: (office.folder / name).read_bytes() for name in _FILES}
    content = encode_canonically(dict(files))
    return seal_at_rest(content, passphrase, kind=_KIND, entropy=entropy, log2_cost=log2_cost)


def restore(unverified: bytes, passphrase: SecretBytes, folder: Path) -> OfficeState:
    """Make an office of a copy, where there is none.

    Raises:
        ConfigurationError: There is an office, or the passphrase is another.
        CorruptFileError: The file is no backup.
    """
    content = open_at_rest(unverified, passphrase, kind=_KIND, max_bytes=MAX_BACKUP_BYTES)
    files = decode_canonically(content, max_bytes=MAX_BACKUP_BYTES)
    if not isinstance(files, dict) or set(files) != set(_FILES):
        raise CorruptFileError("the backup has other files than an office's")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with held_lock(folder / ".lock"):
        if (folder / "register.jsonl").exists():
            raise ConfigurationError(
                f"{folder} is an office already", hint="restore into a new folder"
            )
        for name in _FILES:  # the register last: with it there is an office
            write_atomically(folder / name, files[name], mode=0o600)
    office = Office(folder)
    state = office.state()
    office.open_authority(state, passphrase)
    return state
