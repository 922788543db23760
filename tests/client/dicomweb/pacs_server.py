"""A small DICOMweb server on loopback that can be told to misbehave."""

import io
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

BOUNDARY = "a-boundary"
PATIENT_ID = "PID-needle-77"
PATIENT_NAME = "Needle^Nora"


def ct_slice(study: str, series: str, number: int, side: int = 8) -> Dataset:
    """One axial slice of 1 mm."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.PatientID, dataset.PatientName = PATIENT_ID, PATIENT_NAME
    dataset.PatientBirthDate, dataset.PatientSex = "19600131", "F"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20200101", "120000", "1"
    dataset.AccessionNumber, dataset.ReferringPhysicianName = "A77", ""
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = "CT", 1, number
    dataset.Manufacturer, dataset.ImageType = "Maker", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = f"{series}.9", ""
    dataset.ImagePositionPatient = [-4.0, -4.0, float(number)]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [1.0, 1.0], 1.0
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
    dataset.Rows = dataset.Columns = side
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 1
    pixels = np.arange(side * side, dtype=np.int16).reshape(side, side) + 100 * number
    dataset.PixelData = pixels.tobytes()
    return dataset


def bytes_of(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


Fault = Callable[["_Handler"], None]


@dataclass
class Pacs:
    """What the server holds, was asked, and is to do wrong.

    Attributes:
        files: Content by study, series and instance UID.
        faults: The next requests whose path holds the word meet the fault instead of an answer.
        requests: Method and path of each request, and its headers.
        authorization: Required header value, if any.
    """

    files: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    faults: list[tuple[str, Fault]] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    authorization: str | None = None
    url: str = ""
    released: threading.Event = field(default_factory=threading.Event)
    ignores_paging: bool = False
    refuses_series_metadata: bool = False

    def add(self, dataset: Dataset) -> str:
        key = (dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
        self.files[key] = bytes_of(dataset)
        return "studies/{}/series/{}/instances/{}".format(*key)

    def add_series(self, num_slices: int, study: str | None = None) -> tuple[str, str, list[str]]:
        study, series = study or generate_uid(), generate_uid()[:60]
        return study, series, [self.add(ct_slice(study, series, n)) for n in range(num_slices)]

    def fail(self, word: str, *faults: Fault) -> None:
        self.faults += [(word, fault) for fault in faults]

    def asked(self, word: str) -> int:
        return sum(word in path for path, _ in self.requests)


def status(code: int, **headers: str) -> Fault:
    def fault(handler: "_Handler") -> None:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        handler.answer(code, b"who asks for Needle^Nora?", "text/plain", named)

    return fault


def cut_after(num_bytes: int) -> Fault:
    """Give a whole answer's headers, and its body only up to there."""

    def fault(handler: "_Handler") -> None:
        handler.cut_after = num_bytes
        handler.respond()

    return fault


def endless(handler: "_Handler") -> None:
    handler.send_response(200)
    handler.send_header("content-type", f"multipart/related; boundary={BOUNDARY}")
    handler.end_headers()
    handler.wfile.write(f"--{BOUNDARY}\r\ncontent-type: application/dicom\r\n\r\n".encode())
    try:
        while True:
            handler.wfile.write(bytes(1 << 16))
    except OSError:
        handler.close_connection = True


def silence(handler: "_Handler") -> None:
    handler.pacs.released.wait(30)
    handler.close_connection = True


def body(content: bytes, media_type: str) -> Fault:
    return lambda handler: handler.answer(200, content, media_type)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    pacs: Pacs
    cut_after: int | None = None

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        length = int(self.headers.get("content-length", 0))
        self.content = self.rfile.read(length)
        self.pacs.requests.append(
            (f"{self.command} {self.path}", {k.lower(): v for k, v in self.headers.items()})
        )
        for at, (word, fault) in enumerate(self.pacs.faults):
            if word in self.path:
                del self.pacs.faults[at]
                fault(self)
                return
        self.respond()

    def respond(self) -> None:
        wanted = self.pacs.authorization
        if wanted is not None and self.headers.get("authorization") != wanted:
            self.answer(401, b"", "text/plain")
            return
        parts = urlsplit(self.path)
        words = parts.path.strip("/").split("/")[1:]  # without the service's root
        uids = tuple(words[1::2])
        if self.command == "POST":
            self._store()
        elif words[-1] == "metadata":
            self._metadata(tuple(words[1:-1:2]))
        elif len(words) == 6:
            self._instance(uids)
        else:
            self._search(words[-1], uids, parse_qs(parts.query))

    def _search(self, level: str, uids: tuple[str, ...], query: dict[str, list[str]]) -> None:
        keys = [key for key in sorted(self.pacs.files) if key[: len(uids)] == uids]
        depth = ["studies", "series", "instances"].index(level) + 1
        tags = {"StudyInstanceUID": 0, "SeriesInstanceUID": 1, "SOPInstanceUID": 2}
        for name, place in tags.items():
            keys = [key for key in keys if key[place] in query.get(name, [key[place]])]
        found = sorted({key[:depth]: key for key in keys}.values())
        if not self.pacs.ignores_paging:
            offset, limit = (int(query[name][0]) for name in ("offset", "limit"))
            found = found[offset : offset + limit]
        answers = []
        for key in found:
            dataset = dcmread(io.BytesIO(self.pacs.files[key]))
            wanted = ("PatientID", "AccessionNumber", *tags)
            one = Dataset()
            for name in wanted:
                setattr(one, name, getattr(dataset, name))
            answers.append(one.to_json_dict())
        self._json(answers)

    def _metadata(self, uids: tuple[str, ...]) -> None:
        if len(uids) == 2 and self.pacs.refuses_series_metadata:
            self.answer(400, b"", "text/plain")
            return
        datasets = []
        for key, content in sorted(self.pacs.files.items()):
            if key[: len(uids)] == uids:
                dataset = dcmread(io.BytesIO(content), stop_before_pixels=True)
                datasets.append(dataset.to_json_dict())
        self._json(datasets)

    def _json(self, answers: list[Any]) -> None:
        if answers:
            self.answer(200, json.dumps(answers).encode(), "application/dicom+json")
        else:
            self.answer(204, b"", "")

    def _instance(self, uids: tuple[str, ...]) -> None:
        content = self.pacs.files.get((uids[0], uids[1], uids[2]))
        if content is None:
            self.answer(404, b"no Needle^Nora here", "text/plain")
            return
        head = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        self.answer(
            200,
            head + content + f"\r\n--{BOUNDARY}--\r\n".encode(),
            f'multipart/related; type="application/dicom"; boundary={BOUNDARY}',
        )

    def _store(self) -> None:
        boundary = self.headers["content-type"].rpartition("boundary=")[2].encode()
        pieces = self.content.split(b"--" + boundary)
        assert pieces[-1] == b"--\r\n"
        for piece in pieces[1:-1]:
            head, _, content = piece.partition(b"\r\n\r\n")
            assert head.lower() == b"\r\ncontent-type: application/dicom"
            self.pacs.add(dcmread(io.BytesIO(content[:-2])))
        self.answer(200, b'{"00081199": {"vr": "SQ", "Value": [{}]}}', "application/dicom+json")

    def answer(
        self, code: int, content: bytes, media_type: str, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(code)
        if media_type:
            self.send_header("Content-Type", media_type)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        if code != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: self.cut_after])
        if self.cut_after is not None:
            self.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that hung up: tests make it do so."""


@contextmanager
def running_pacs(certificate: Path | None = None) -> Iterator[Pacs]:
    """Serve until the block ends; with a certificate (and its key in one file), by TLS."""
    pacs = Pacs()
    handler = type("Handler", (_Handler,), {"pacs": pacs})
    server = _Server(("127.0.0.1", 0), handler)
    scheme = "http"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    pacs.url = f"{scheme}://127.0.0.1:{server.server_port}/dicom-web"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield pacs
    finally:
        pacs.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
