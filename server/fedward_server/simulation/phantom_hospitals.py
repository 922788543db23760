"""The invented hospitals of `fedward phantom`: their machines, and how their archives store.

No two agree in field of view, contrast, grain, bits, sign, compression or photometric
interpretation, as real hospitals do not.
"""

from dataclasses import dataclass

from fedward_common.dicom_writing.encoded_files import Encoding
from fedward_common.dicom_writing.headers import Equipment
from fedward_server.simulation.phantom_chest import ChestScanner
from fedward_server.simulation.phantom_ct import CtScanner


@dataclass(frozen=True)
class XrayMachine:
    """An X-ray machine: `bits_stored` up to 12; `inverted` stores MONOCHROME1."""

    scanner: ChestScanner
    equipment: Equipment
    bits_stored: int
    inverted: bool
    encoding: Encoding


@dataclass(frozen=True)
class CtMachine:
    """A CT."""

    scanner: CtScanner
    equipment: Equipment
    encoding: Encoding


@dataclass(frozen=True)
class Hospital:
    """A hospital of the demo; `prevalence` is the share of its patients with a lesion."""

    name: str
    prevalence: float
    xray: XrayMachine
    ct: CtMachine

    @property
    def short_name(self) -> str:
        """The name without its first word, as patient ids begin with it."""
        return self.name.removeprefix("hospital-")


def _equipment(hospital: str, manufacturer: str, model: str, software: str) -> Equipment:
    return Equipment(manufacturer, model, software, f"{model}-1", f"Phantom Hospital {hospital}")


HOSPITALS = (
    Hospital(
        "hospital-north",
        0.7,
        XrayMachine(
            ChestScanner(1.0, 1.0, 0.005, 0.02, 1.0, 0.0),
            _equipment("North", "Aurora Imaging", "AX-100", "3.1"),
            bits_stored=12,
            inverted=False,
            encoding="none",
        ),
        CtMachine(
            CtScanner(3.0, 360.0, 28.0, "B30f", 0.8, signed=True),
            _equipment("North", "Aurora Imaging", "Spiral 16", "VB20"),
            encoding="none",
        ),
    ),
    Hospital(
        "hospital-river",
        0.5,
        XrayMachine(
            ChestScanner(0.7, 0.75, 0.014, 0.03, 0.87, 4.0),
            _equipment("River", "Borealis Medical", "Ray-2", "1.8.4"),
            bits_stored=10,
            inverted=True,
            encoding="jpeg-ls",
        ),
        CtMachine(
            CtScanner(5.0, 400.0, 18.0, "STANDARD", 1.4, signed=False),
            _equipment("River", "Borealis Medical", "Volume 64", "12HW"),
            encoding="jpeg-ls",
        ),
    ),
    Hospital(
        "hospital-south",
        0.3,
        XrayMachine(
            ChestScanner(1.45, 1.1, 0.008, 0.045, 1.18, -3.0),
            _equipment("South", "Cassini Health", "Plate CR", "7"),
            bits_stored=8,
            inverted=False,
            encoding="rle",
        ),
        CtMachine(
            CtScanner(4.0, 340.0, 45.0, "FC13", 0.5, signed=False),
            _equipment("South", "Cassini Health", "Helix", "V4.7"),
            encoding="jpeg-2000",
        ),
    ),
    Hospital(
        "hospital-lake",
        0.4,
        XrayMachine(
            ChestScanner(1.15, 0.9, 0.01, 0.025, 1.05, 2.0),
            _equipment("Lake", "Dorado Systems", "DR One", "2.0"),
            bits_stored=12,
            inverted=True,
            encoding="none",
        ),
        CtMachine(
            CtScanner(2.5, 380.0, 34.0, "C", 0.7, signed=False),
            _equipment("Lake", "Dorado Systems", "Ring 32", "5.5"),
            encoding="none",
        ),
    ),
    Hospital(
        "hospital-hill",
        0.6,
        XrayMachine(
            ChestScanner(0.85, 1.05, 0.006, 0.05, 0.93, -5.0),
            _equipment("Hill", "Aurora Imaging", "AX-40", "2.2"),
            bits_stored=10,
            inverted=False,
            encoding="jpeg-2000",
        ),
        CtMachine(
            CtScanner(6.0, 420.0, 15.0, "B20s", 1.6, signed=True),
            _equipment("Hill", "Aurora Imaging", "Spiral 4", "VA40"),
            encoding="rle",
        ),
    ),
)
