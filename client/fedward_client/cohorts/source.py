"""What a site's images are to the rest of Fedward: a list of cases, and arrays on request.

A case that cannot be used is never fatal: it becomes an `Exclusion`, a code and a line of the
manifest. No text made here quotes a patient id, a label or a header value.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from fedward_common.errors import CohortError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatImage: TypeAlias = NDArray[np.float32]
    IntegerMask: TypeAlias = NDArray[np.integer[Any]]

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

Unit = Literal["patient", "lesion", "image"]

Label: TypeAlias = int | tuple[int, ...] | None

E_FILE_NOT_FOUND = "E_FILE_NOT_FOUND"
E_IMAGE_SHAPE = "E_IMAGE_SHAPE"
E_IMAGE_TOO_LARGE = "E_IMAGE_TOO_LARGE"
E_IMAGE_UNREADABLE = "E_IMAGE_UNREADABLE"
E_LABEL_UNMAPPED = "E_LABEL_UNMAPPED"
E_LABEL_VALUE = "E_LABEL_VALUE"
E_MASK_GEOMETRY = "E_MASK_GEOMETRY"
E_MASK_SHAPE = "E_MASK_SHAPE"
E_MASK_UNREADABLE = "E_MASK_UNREADABLE"
E_MASK_VALUE = "E_MASK_VALUE"
E_NON_FINITE_PIXELS = "E_NON_FINITE_PIXELS"
E_PATH_ESCAPES = "E_PATH_ESCAPES"
E_PATIENT_IN_TWO_SPLITS = "E_PATIENT_IN_TWO_SPLITS"
E_PATIENT_MISSING = "E_PATIENT_MISSING"
E_SPLIT_VALUE = "E_SPLIT_VALUE"
EXCLUDED_BY_LABEL = "EXCLUDED_BY_LABEL"  # the cohort file says "exclude": wanted, no error
EXCLUDED_BY_REQUEST = "EXCLUDED_BY_REQUEST"  # consent was withdrawn: wanted, no error

E_COHORT_EMPTY = "E_COHORT_EMPTY"
E_SOURCE_UNREADABLE = "E_SOURCE_UNREADABLE"
E_TOO_MANY_EXCLUDED = "E_TOO_MANY_EXCLUDED"


class UnusableCaseError(CohortError):
    """One case cannot be used; whoever walks the cases counts it and goes on."""

    def __init__(self, code: str) -> None:
        super().__init__(f"a case cannot be used: {code}", code=code)


@dataclass(frozen=True)
class Case:
    """One image of one patient; `repr` shows neither patient nor file.

    Args:
        patient: The privacy unit's id; the image's own locator where the unit is the image.
        label: Class id or `NOT_ANNOTATED`; in a multi-label task 1, 0 or `NOT_ANNOTATED` for each
            class; None where the task is segmentation.
        split: As the manifest says; None where the keyed hash of the patient decides.
        image: Where the source finds the pixels.
        mask: Where it finds the mask, if the manifest names one.
        line: Line of the manifest, the header being line 1.
    """

    patient: str = field(repr=False)
    label: Label
    split: Split | None
    image: str = field(repr=False)
    mask: str | None = field(repr=False)
    line: int


@dataclass(frozen=True)
class Exclusion:
    """Why the case on one line of the manifest is left out."""

    code: str
    line: int


@dataclass(frozen=True)
class CaseList:
    """The usable cases of one source in the manifest's order, and the others."""

    cases: tuple[Case, ...]
    exclusions: tuple[Exclusion, ...]

    @property
    def num_listed(self) -> int:
        """Number of lines that passed the filter."""
        return len(self.cases) + len(self.exclusions)


class CohortSource(Protocol):
    """One table of images; four kinds keep the same contract (`test_source_contract.py`)."""

    @property
    def unit(self) -> Unit:
        """What `Case.patient` stands for."""

    def cases(self) -> CaseList:
        """List the cases; no pixel is decoded for it."""

    def files(self) -> Iterator[Path]:
        """Give every file that the arrays come from, in a stable order; some may be missing."""

    def read_image(self, case: Case) -> "FloatImage":
        """Give the pixels as stored, finite, shape (channels, *spatial), 1 or 3 channels.

        Raises:
            UnusableCaseError: With the case's code.
        """

    def read_mask(self, case: Case) -> "IntegerMask":
        """Give the mask's own values, shape (*spatial).

        Raises:
            UnusableCaseError: With the case's code.
        """

    def close(self) -> None:
        """Let go of open files; the source is not used afterwards."""
