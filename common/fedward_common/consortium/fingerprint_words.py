"""Fingerprint words: eight words that two people compare by telephone.

A hospital's request and the office's copy of it give eight words of a list of 256: 64 bits. Whoever
stands between the two must show each side a request of his own making, so he looks for a second
request with the words of the first. That takes 2^64 tries on average, and every try costs 32 MB and
some 0.1 s of work (scrypt, RFC 7914), which makes it hopeless where eight bare bytes of SHA-256
would be a matter of money. More words would be read less carefully.

The words are plain English of at most eight letters, told apart by their first three.
"""

import hashlib

from fedward_common.errors import UnverifiedMessageError

NUM_WORDS = 8

# scrypt of RFC 7914; 128 * r * N bytes of memory.
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 1 << 15, 8, 1
_SCRYPT_MEMORY_BYTES = 1 << 26
_SALT = b"fedward fingerprint words v1"

WORDS = tuple(
    """
acorn actor album amber anchor angle apple april arrow artist atlas attic august autumn bagel
baker bamboo banjo barley basket beacon bench blanket blossom bottle bracket breeze bridge
bronze bucket budget butter cabin cactus camera canal carpet castle cedar cellar chalk cheese
chimney circle citrus clover cobalt coffee column comet copper coral cotton cradle cricket crown
curtain cushion daisy dancer diamond dinner dolphin domino donkey dragon eagle easel elbow
emerald engine fabric falcon farmer feather fence ferry fiddle finger flannel flute forest
fossil fountain freight funnel garden gate giraffe glacier glove gold granite guitar hammer
hazel hedge helmet hockey honey horizon hotel iceberg igloo ignite indigo insect island jacket
jaguar january jelly jersey jungle kayak kennel kettle kitchen knight koala ladder lagoon
lantern lemon library lime linen lizard lumber magnet maple marble meadow melon mirror monday
mosaic muffin museum napkin nectar needle noodle nugget nutmeg oasis ocean october olive onion
opera orange orchard otter oven oxygen oyster palace panda paprika parrot pastry peach pebble
pencil pepper piano picnic pillow planet plum pocket poem pony potato pumpkin puzzle pyramid
queen rabbit radio raisin reptile ribbon river robin rose sailor salmon sardine saturn scarf
scooter sesame shadow signal silver sketch sled snow sparrow spider spoon square stable stork
sugar summer sunset swan syrup teapot temple tennis thunder ticket tiger toast tomato topaz
torch tower tractor trolley trumpet tulip turtle ukulele umbrella unicorn urchin vanilla velvet
village vinegar violin volcano voyage vulture waffle wagon walnut water weaver webcam whale
wigwam window wolf wool yacht yellow yogurt zebra zenith zinc
""".split()  # noqa: SIM905
)


def fingerprint_words(content: bytes) -> tuple[str, ...]:
    """Give the eight words of some bytes; the same bytes give the same words everywhere."""
    digest = hashlib.scrypt(
        content,
        salt=_SALT,
        n=_SCRYPT_N,
        r=_SCRYPT_R,
        p=_SCRYPT_P,
        maxmem=_SCRYPT_MEMORY_BYTES,
        dklen=NUM_WORDS,
    )
    return tuple(WORDS[byte] for byte in digest)


def verify_words(words: tuple[str, ...], unverified: str) -> None:
    """Check what a person heard or pasted; case, commas and spaces do not matter.

    Raises:
        UnverifiedMessageError: `FINGERPRINT_MISMATCH`.
    """
    heard = tuple(unverified.replace(",", " ").casefold().split())
    if heard != words:
        raise UnverifiedMessageError(
            f"the {len(heard)} fingerprint words given are not those of the request",
            hint="read them out once more; if they still differ, somebody changed the request or "
            "the invitation on its way: invite the site anew over another channel",
            code="FINGERPRINT_MISMATCH",
        )
