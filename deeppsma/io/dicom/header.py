"""A DICOM file's header: values by keyword, checked when they are asked for.

Whatever is wrong with a value is one line that names the tag. No value of the patient (name, number, date) gets into
a message: what is shown are units, doses, sizes.
"""

from __future__ import annotations

import math
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeppsma.core.errors import InputError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: What pydicom raises over bytes that are no DICOM after all; it has no one class for them.
DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
EXPORT_AGAIN = "export the series again, or mend the tag"


def tag_of(keyword: str) -> str:
    """How messages name an attribute: ``PatientWeight (0010,1030)``."""
    from pydicom.datadict import tag_for_keyword

    number = tag_for_keyword(keyword)
    return keyword if number is None else f"{keyword} ({number >> 16:04X},{number & 0xFFFF:04X})"


@dataclass(frozen=True)
class Header:
    """Header of one file, or of an item of a sequence in it.

    Parameters
    ----------
    path
        The file; messages name it.
    dataset
        Without pixels.
    file_bytes
        Size of the file; 0 where it does not matter.
    reads
        Where attributes are noted that had a value when they were asked for, as messages name them; None to note none.
    """

    path: Path
    dataset: Dataset
    file_bytes: int = 0
    reads: set[str] | None = field(default=None, compare=False, repr=False)

    def raw(self, keyword: str) -> Any:
        """Value as pydicom gives it; None where the attribute is absent or empty.

        Raises
        ------
        InputError
            If the bytes make no value of the attribute's kind.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what pydicom warns of is refused below, or does not matter
                value = self.dataset.get(keyword)
        except DAMAGE:
            raise self.refuse(keyword, "is not readable") from None
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        if isinstance(value, bytes | Sequence) and not isinstance(value, str) and not len(value):
            return None
        if self.reads is not None:
            self.reads.add(tag_of(keyword))
        return value

    def meta(self, keyword: str) -> str:
        """Value in the file's own header (group 0002) as text; "" where absent or damaged."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return str(self.dataset.file_meta.get(keyword, "") or "")
        except DAMAGE:
            return ""

    def text(self, keyword: str) -> str:
        """Value as text without padding, "" where absent; several values are joined by a backslash."""
        value = self.raw(keyword)
        if value is None:
            return ""
        return "\\".join(self.texts(keyword))

    def texts(self, keyword: str) -> tuple[str, ...]:
        """Values as text; empty where absent."""
        value = self.raw(keyword)
        if value is None:
            return ()
        several = value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]
        return tuple(str(one).replace("\0", "").strip() for one in several)

    def number(self, keyword: str) -> float | None:
        """Value as a finite number; None where absent.

        Raises
        ------
        InputError
            If it is no number, several, or not finite.
        """
        found = self.numbers(keyword)
        if not found:
            return None
        if len(found) != 1:
            raise self.refuse(keyword, f"holds {len(found)} values instead of one")
        return found[0]

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """Values as finite numbers; empty where absent."""
        try:
            found = tuple(float(one) for one in self.texts(keyword))
        except ValueError:
            raise self.refuse(keyword, "is not a number") from None
        if not all(math.isfinite(one) for one in found):
            raise self.refuse(keyword, "is not a finite number")
        return found

    def day(self, keyword: str) -> date | None:
        """A date (DA); None where absent."""
        from pydicom.valuerep import DA

        return self._parsed(keyword, lambda text: DA(text.replace(".", "").replace("-", "")), "a date")

    def clock(self, keyword: str) -> time | None:
        """A time of day (TM); None where absent."""
        from pydicom.valuerep import TM

        return self._parsed(keyword, lambda text: TM(text.replace(":", "")), "a time")

    def moment(self, keyword: str) -> datetime | None:
        """A date with its time (DT), with a UTC offset if it has one; None where absent, or a date alone."""
        from pydicom.valuerep import DT

        text = self.text(keyword)
        if text and len(text.split("+")[0].split("-")[0].split(".")[0]) <= len("YYYYMMDD"):
            return None  # midnight would be invented
        return self._parsed(keyword, DT, "a date with its time")

    def _parsed(self, keyword: str, parse: Any, kind: str) -> Any:
        text = self.text(keyword)
        if not text:
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return parse(text)
        except (ValueError, TypeError, OverflowError):
            raise self.refuse(keyword, f"is not {kind}") from None

    def items(self, keyword: str) -> tuple[Header, ...]:
        """Items of a sequence; empty where absent."""
        value = self.raw(keyword)
        if value is None:
            return ()
        if not hasattr(value, "_list") and not all(hasattr(item, "get") for item in value):
            raise self.refuse(keyword, "is not a sequence")
        return tuple(Header(self.path, item, reads=self.reads) for item in value)

    def private(self, group: int, element: int, creator: str, anonymous: bool = False) -> Any:
        """Value of a private attribute whose creator is there.

        Parameters
        ----------
        group, element
            Group, and the element's last two digits.
        creator
            Name of the private block, or how it begins.
        anonymous
            Also where no creator at all claims the block 10, as some software leaves it.

        Returns
        -------
        Any
            None where absent or empty; bytes are decoded as text.
        """
        for block in self._blocks(group, creator, anonymous):
            try:
                value = self.dataset[group, (block << 8) | element].value
            except DAMAGE:
                continue
            if isinstance(value, bytes):
                value = value.decode("latin-1").strip("\0 ")
            if value is not None and str(value).strip():
                if self.reads is not None:
                    self.reads.add(f"{creator} ({group:04X},{block << 8 | element:04X})")
                return value
        return None

    def _blocks(self, group: int, creator: str, anonymous: bool) -> Iterator[int]:
        claimed = False
        for block in range(0x10, 0x100):
            if (group, block) not in self.dataset:
                continue
            claimed = claimed or block == 0x10
            value = self.dataset[group, block].value
            name = value.decode("latin-1") if isinstance(value, bytes) else str(value)
            if name.strip("\0 ").upper().startswith(creator.upper()):
                yield block
        if anonymous and not claimed:
            yield 0x10

    def private_number(self, group: int, element: int, creator: str, anonymous: bool = False) -> float | None:
        """A private attribute as a finite number; None where absent or no number."""
        value = self.private(group, element, creator, anonymous)
        try:
            number = float(str(value).strip())
        except ValueError:
            return None
        return number if math.isfinite(number) else None

    def refuse(self, keyword: str, found: str, remedy: str = EXPORT_AGAIN) -> InputError:
        """The error that names a tag of this file."""
        return InputError(self.path, f"{tag_of(keyword)} {found}", remedy)


def shared(headers: Sequence[Header], keyword: str) -> str:
    """Text of an attribute that all slices of a series must agree on; "" where no slice has it.

    Raises
    ------
    InputError
        If two slices differ, or only some have it.
    """
    found = {header.text(keyword): header for header in headers}
    if len(found) > 1:
        raise list(found.values())[-1].refuse(keyword, "differs within the series", "export the series again, whole")
    return next(iter(found), "")


def shared_number(headers: Sequence[Header], keyword: str) -> float | None:
    """As `shared`, a number; None where absent. ``71`` and ``71.0`` are the same."""
    found = {header.number(keyword): header for header in headers}
    if len(found) > 1:
        raise list(found.values())[-1].refuse(keyword, "differs within the series", "export the series again, whole")
    return next(iter(found), None)
