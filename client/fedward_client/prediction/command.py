"""`fedward-site predict`: one series through one model, the answer as a DICOM file or in the PACS.

What is printed has no patient data: classes, probabilities, volumes.
"""

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedward_client.dicomweb.settings import DicomWebSettings, read_dicomweb_settings
from fedward_client.prediction.source_series import (
    SourceSeries,
    series_in_folder,
    series_of_store,
)
from fedward_client.site_home import SiteHome
from fedward_common.errors import ConfigurationError

if TYPE_CHECKING:
    from fedward_client.cohorts.registered.registration import CohortRegistration
    from fedward_client.dicomweb.store import DicomWebStore
    from fedward_client.prediction.network_answer import Classification
    from fedward_client.prediction.placed_mask import PlacedMask
    from fedward_client.prediction.trained_model import TrainedModel

Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class PredictOptions:
    """What the command was told.

    Args:
        model: The model folder.
        series: A folder, or a SeriesInstanceUID.
        home: Of the site; needed with a cohort or a server.
        cohort: Where a UID is looked up; its spacing and server count too.
        dicomweb: Settings of a server, instead of the cohort's.
        out: Where the result goes.
        store: Whether it is sent to the server.
        spacing_mm: What volumes were resampled to in training, instead of the cohort's.
        force: Whether `out` may be overwritten.
        json: Whether one JSON object is printed.
    """

    model: Path
    series: str = field(repr=False)
    home: Path | None = None
    cohort: str | None = None
    dicomweb: Path | None = None
    out: Path | None = None
    store: bool = False
    spacing_mm: Spacing | None = None
    force: bool = False
    json: bool = False


def run_predict(options: PredictOptions) -> None:
    """Do it; print what came out.

    Raises:
        FedwardError: What cannot be done, by code.
    """
    place = _Place(options)
    _require_destination(options, place)
    from fedward_client.dicom.decode_pool import DecodePool
    from fedward_client.prediction.placed_mask import classify_series, segment_series
    from fedward_client.prediction.result_file import result_bytes
    from fedward_client.prediction.trained_model import load_model
    from fedward_client.training.local_training import pick_device

    model = load_model(options.model)
    model.module.to(pick_device())
    segments = model.job.task.kind == "segmentation"
    ask = segment_series if segments else classify_series
    with place.series() as series, DecodePool() as pool:
        answer: Classification | PlacedMask = ask(model, series, pool, place.spacing_mm)
        content = result_bytes(model, series, answer)
    _deliver(options, place, content)
    _print(options, model, answer)


class _Place:
    """Where the series is and where the result goes, as options and cohort say."""

    def __init__(self, options: PredictOptions) -> None:
        self._options = options
        self._registration: CohortRegistration | None = None
        if options.cohort is not None:
            from fedward_client.cohorts.registered.registration import read_registration

            name = options.cohort.partition("@")[0]
            self._registration = read_registration(self._home(), name)
        self.server: DicomWebSettings | None = None
        if options.dicomweb is not None:
            self.server = read_dicomweb_settings(options.dicomweb)
        elif self._registration is not None:
            self.server = self._registration.dicomweb

    @property
    def spacing_mm(self) -> Spacing | None:
        if self._options.spacing_mm is None and self._registration is not None:
            return self._registration.spacing_mm
        return self._options.spacing_mm

    @contextlib.contextmanager
    def series(self) -> Iterator[SourceSeries]:
        """Have the series' files at hand inside the block."""
        folder = Path(self._options.series)
        if folder.is_dir():
            yield series_in_folder(folder.absolute())  # decoders work in another folder
        elif self._options.dicomweb is None and self._registration is not None:
            with self._series_of_cohort(self._registration) as series:
                yield series
        elif self.server is not None:
            with contextlib.closing(self.open_server(self.server)) as store:
                locators = store.locators_of_series(self._options.series)
                with series_of_store(store, locators) as series:
                    yield series
        else:
            raise ConfigurationError(
                "--series names no folder",
                hint="a UID needs --cohort or --dicomweb to say where the series is",
            )

    @contextlib.contextmanager
    def _series_of_cohort(self, registration: "CohortRegistration") -> Iterator[SourceSeries]:
        from fedward_client.cohorts.index.dicom_index import DicomIndex
        from fedward_client.cohorts.registered.cohort_folder import CohortFolder

        home = self._home()
        index_file = CohortFolder(home, registration.name).index_file
        with DicomIndex.open(index_file, pseudonym_key=home.pseudonym_key()) as index:
            locators = [facts.locator for facts in index.series(self._options.series)]
        with (
            contextlib.closing(registration.open_store(home.cache)) as store,
            series_of_store(store, locators) as series,
        ):
            yield series

    def open_server(self, settings: DicomWebSettings) -> "DicomWebStore":
        """Open the server; fetched files live below the site's cache."""
        from fedward_client.dicomweb.store import DicomWebStore

        return DicomWebStore(settings, self._home().cache)

    def _home(self) -> SiteHome:
        if self._options.home is None:
            raise ConfigurationError(
                "no site home was named", hint="--home DIR or FEDWARD_SITE_HOME"
            )
        return SiteHome(self._options.home)


def _require_destination(options: PredictOptions, place: _Place) -> None:
    from fedward_client.prediction.result_file import require_free

    if options.out is None and not options.store:
        raise ConfigurationError(
            "the result has nowhere to go", hint="--out FILE.dcm, --store, or both"
        )
    if options.out is not None:
        require_free(options.out, force=options.force)
    if options.store and place.server is None:
        raise ConfigurationError(
            "--store has no server", hint="--dicomweb FILE.toml, or a cohort of a DICOMweb server"
        )


def _deliver(options: PredictOptions, place: _Place, content: bytes) -> None:
    """Write the file first: what the server refuses is not lost."""
    from fedward_client.prediction.result_file import write_result

    if options.out is not None:
        write_result(options.out, content, force=options.force)
    if options.store and place.server is not None:
        with contextlib.closing(place.open_server(place.server)) as store:
            store.store_content(content)


def _print(
    options: PredictOptions, model: "TrainedModel", answer: "Classification | PlacedMask"
) -> None:
    from fedward_client.prediction.printed_answer import lines_of, table_of

    table: Mapping[str, Any] = table_of(model, answer) | {
        "out": None if options.out is None else str(options.out),
        "stored": options.store,
    }
    if options.json:
        sys.stdout.write(json.dumps(table, indent=1) + "\n")
    else:
        sys.stdout.write("\n".join(lines_of(table)) + "\n")
