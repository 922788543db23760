"""The CSV file that lists a cohort's images, read strictly.

UTF-8 with or without a byte order mark, one header line. Columns are separated by commas,
semicolons or tabs; which of them, the header line alone decides. A file whose structure is broken
is refused whole: a row shifted by one cell would give patients the wrong label. No error quotes
a cell: in a file without a header, line 1 is a patient's.
"""

import csv
import io
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedward_common.errors import ConfigurationError

_MAX_BYTES = 256 * 1024 * 1024
_MAX_HEADER = 1_000_000  # letters; a quote that is never closed would make all the file one
_SEPARATORS = (",", ";", "\t")


@dataclass(frozen=True)
class ManifestRow:
    """One row: its first line in the file (the header is line 1) and its cells by column."""

    line: int
    cells: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Manifest:
    """A manifest's header and rows; cells are stripped of surrounding blanks."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[ManifestRow, ...] = field(repr=False)

    def require_column(self, name: str, what: str) -> str:
        """Give `name` back if the manifest has it.

        Raises:
            ConfigurationError: It has not; no column of the file is quoted.
        """
        if name in self.columns:
            return name
        raise ConfigurationError(
            f"{self.path} has no column {name!r} for {what}",
            hint=f"line 1 has {len(self.columns)} columns; check their names",
        )

    def where(self, wanted: Mapping[str, str | int]) -> "Manifest":
        """Keep the rows in which every column has its wanted value.

        Raises:
            ConfigurationError: A column does not exist.
        """
        pairs = [(self.require_column(key, "filter"), str(v)) for key, v in wanted.items()]
        kept = tuple(r for r in self.rows if all(r.cells[key] == v for key, v in pairs))
        return Manifest(self.path, self.columns, kept)


def read_manifest(path: Path) -> Manifest:
    """Read a whole manifest.

    Raises:
        ConfigurationError: It is missing, no regular file, larger than 256 MB, not UTF-8, has
            no header, two columns of one name, a row with another number of cells, or broken
            quotes.
    """
    text = _read_text(path)
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=separator_of(text), strict=True)
    try:
        columns = _header(path, next(reader, []))
        rows = tuple(_rows(path, columns, reader))
    except csv.Error as error:
        raise ConfigurationError(
            f"{path}, line {reader.line_num}: not readable as CSV", hint="check its quotes"
        ) from error
    return Manifest(path, columns, rows)


def separator_of(text: str) -> str:
    """Give what separates the columns of a CSV file, by its header line.

    Args:
        text: From the header line on; what follows it does not count.

    Returns:
        Of comma, semicolon and tab the one that stands most often outside quotes; of equals the
        first.
    """
    counts = dict.fromkeys(_SEPARATORS, 0)
    is_quoted = False
    for letter in text[:_MAX_HEADER]:
        if letter == '"':
            is_quoted = not is_quoted  # a doubled quote opens again what it closed
        elif letter in "\r\n" and not is_quoted:
            break
        elif letter in counts and not is_quoted:
            counts[letter] += 1
    return max(_SEPARATORS, key=counts.__getitem__)


def plain_name(name: str) -> str:
    """Give a column's name without what spellings differ in: `SOP_Instance UID`, `sopinstanceuid`.

    Returns:
        Its letters and digits, case folded.
    """
    return "".join(c for c in name.casefold() if c.isalnum())


def _read_text(path: Path) -> str:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would never end
            raise ConfigurationError(f"{path} is no regular file", hint="name a CSV file")
        num_bytes = status.st_size
        if num_bytes > _MAX_BYTES:
            raise ConfigurationError(f"{path} has {num_bytes} bytes", hint=f"at most {_MAX_BYTES}")
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(f"{path}: {reason}", hint="check the manifest's path") from error
    except UnicodeDecodeError:
        # the original error quotes bytes of the file
        raise ConfigurationError(f"{path} is not UTF-8", hint="save it as UTF-8") from None


def _header(path: Path, cells: list[str]) -> tuple[str, ...]:
    columns = tuple(cell.strip() for cell in cells)
    if not any(columns):
        raise ConfigurationError(f"{path} has no header", hint="name the columns in line 1")
    if len(set(columns)) != len(columns):
        raise ConfigurationError(
            f"{path} has two columns of one name",
            hint=f"line 1 has {len(columns)} columns; name each once",
        )
    return columns


def _rows(path: Path, columns: tuple[str, ...], reader: Any) -> Iterator[ManifestRow]:
    line = 2
    for cells in reader:
        if cells and len(cells) != len(columns):
            raise ConfigurationError(
                f"{path}, line {line}: {len(cells)} cells", hint=f"the header has {len(columns)}"
            )
        if cells:
            stripped = (cell.strip() for cell in cells)
            yield ManifestRow(line, dict(zip(columns, stripped, strict=True)))
        line = reader.line_num + 1  # a quoted cell may span lines, so rows are not counted
