"""The key that this site's Flower node connects with, and the statement that it is the site's.

The key is made here at the first use and never leaves. It says only who may connect: what the site
answers is signed with its own key.
"""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from fedward_client.site_home import SiteHome, write_private_file
from fedward_common.consortium.node_key import state_node_key
from fedward_common.crypto.signing import SigningKey
from fedward_common.errors import ConfigurationError
from fedward_common.identities import parse_site_id


def node_key_file(home: SiteHome) -> Path:
    """Give the file with the node's private key (0600, OpenSSH), made at the first call."""
    path = home.trust / "node.key"
    if not path.exists():
        private = ec.generate_private_key(ec.SECP384R1())
        content = private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        write_private_file(path, content)
    return path


def stated_node_key(home: SiteHome, *, site: str, consortium: str) -> bytes:
    """Give the signed statement, for the coordinator's folder `nodes/`.

    Args:
        home: Of the site.
        site: Its name.
        consortium: Of the consortium.

    Raises:
        ConfigurationError: A key is missing or unreadable.
    """
    try:
        private = load_ssh_private_key(node_key_file(home).read_bytes(), password=None)
        own = SigningKey.from_raw(bytes.fromhex((home.trust / "site.key").read_text()))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"a key is missing or unreadable in {home.trust}",
            hint="restore it; a new node.key is made where that file is gone",
        ) from error
    public = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return state_node_key(
        own, consortium=consortium, site=parse_site_id(site), public_key=public.decode()
    )
