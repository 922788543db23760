"""Keys of nodes, the same in every run of the tests."""

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def node_line(number: int) -> str:
    """Give the public key of node `number` as a line of OpenSSH."""
    public = ec.derive_private_key(number, ec.SECP256R1()).public_key()
    return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
