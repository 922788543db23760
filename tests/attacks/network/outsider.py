"""Whoever reaches the public listener: with no key, with a key of its own, or with one that counts.

What it asks is well formed, so a refusal says that the asker is nobody and not that the bytes are.
"""

from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.date import now
from flwr.supercore.primitives.asymmetric import sign_message
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from flwr.supercore.protobuf.translation import PROTOBUF_REQUEST_TYPES

FLEET = "/v1/fleet/"
HEADERS = {"content-type": PROTOBUF_MEDIA_TYPE}
REQUESTS = {path: kind for (_, path), kind in PROTOBUF_REQUEST_TYPES.items()}
# Unauthenticated, forbidden; and for a key that is not in Flower's list, a failed precondition.
REFUSED = frozenset({401, 403, 412})
FLEET_PATHS = sorted(path for path in REQUESTS if path.startswith(FLEET))
ORDER_PATHS = sorted(path for path in REQUESTS if not path.startswith(FLEET))


def new_key() -> ec.EllipticCurvePrivateKey:
    """Make a key that no member stated."""
    return ec.generate_private_key(ec.SECP384R1())


def pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Give the public half as Flower's list of nodes has it."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def request_to(path: str, **known: Any) -> Any:
    """Fill in what an asker knows: `node_id`, `run_id`, `object_id`, `public_key`."""
    request = REQUESTS[path]()
    for name in request.DESCRIPTOR.fields_by_name:
        if name == "node" and "node_id" in known:
            request.node.node_id = known["node_id"]
        elif name in known:
            setattr(request, name, known[name])
    return request


def signed_headers(key: ec.EllipticCurvePrivateKey, moment: str = "") -> dict[str, str]:
    """Prove to be a node, as of now or of another moment."""
    moment = moment or now().isoformat()
    signature = sign_message(key, moment.encode("ascii"))
    return {
        FLEET_HTTP_PUBLIC_KEY_HEADER: b64encode(pem_of(key)).decode("ascii"),
        TIMESTAMP_HEADER: moment,
        FLEET_HTTP_SIGNATURE_HEADER: b64encode(signature).decode("ascii"),
    }


def ask(
    client: httpx.Client, path: str, key: ec.EllipticCurvePrivateKey | None = None, **known: Any
) -> httpx.Response:
    """Ask once, signed with a node's key or with none."""
    proof = {} if key is None else signed_headers(key)
    content = request_to(path, **known).SerializeToString()
    return client.post(path, content=content, headers=HEADERS | proof)


def statuses(
    client: httpx.Client, key: ec.EllipticCurvePrivateKey | None = None, **known: Any
) -> dict[str, int]:
    """Ask for everything that sites ask for; give the status of each answer."""
    return {path: ask(client, path, key, **known).status_code for path in FLEET_PATHS}


def names_in(tree: Any) -> Iterator[str]:
    """Give the name of a message and of each part of it."""
    yield tree.object_id
    for child in tree.children:
        yield from names_in(child)
