"""Images for the eye: of what somebody sends, and of indexed cases.

Files are decoded in the same limited processes as everything else; what leaves them is display-ready grey, so nothing
has to be known here of DICOM, of inversion or of stored bits. Images of cases are looked for under one folder, by the
path of the index, and are shown only when their bytes are those that were indexed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from retrieval.errors import PrelimError, UnknownCase
from retrieval.pixels.display import LEAST_WIDTH, Grey, png8, png16
from retrieval.pixels.sandbox import Readers, Reading
from retrieval.record import Record
from retrieval.records import Case

LEAST_SIDE: Final = 16
LARGEST_SIDE: Final = 8192
"""What may be asked for as the longest side."""


class ImageView(Record):
    """How an image shall be shown."""

    longest: int | None = Field(default=None, ge=LEAST_SIDE, le=LARGEST_SIDE)
    """Its longest side in pixels; None for its own."""
    bits: Literal[8, 16] = 8
    """16 for whoever applies the window."""
    centre: float = Field(default=0.5, ge=-1, le=2)
    """Of the window, 0 black to 1 white; for 8 bits."""
    width: float = Field(default=1.0, ge=LEAST_WIDTH, le=2)
    """Of the window; for 8 bits."""

    def png(self, grey: Grey) -> bytes:
        """The image so."""
        if self.bits == 16:
            return png16(grey, self.longest)
        return png8(grey, centre=self.centre, width=self.width, longest=self.longest)


@dataclass(frozen=True)
class Viewer:
    """Decoders that give images for the eye, and where the images of cases are."""

    readers: Readers
    """Whose `prepare` is `retrieval.pixels.display.whole`."""
    folder: Path | None
    """What paths of the index are relative to; None where no images of cases are shown."""

    def read(self, path: Path) -> Grey:
        """All pixels of one file; raises the image's own error."""
        grey: Grey = self._reading(path).prepared
        return grey

    def of_case(self, case: Case, number: int) -> Grey:
        """One image of a case, counted from 0; raises UnknownCase where it is not here, or no longer the same."""
        if self.folder is None or not 0 <= number < len(case.images) or not case.images[number].path:
            raise UnknownCase("there is no such image here", fix="see `images` of the capabilities and of the case")
        image = case.images[number]
        path = (self.folder / image.path).resolve()
        # An index may have been made elsewhere: what it names outside of the folder is not ours to show.
        if not path.is_relative_to(self.folder.resolve()) or not path.is_file():
            raise UnknownCase("the image is not where the index says", fix="set the folder of the manifest's images")
        reading = self._reading(path)
        if reading.digest != image.digest:
            raise UnknownCase("the file is no longer the image that was indexed", fix="build the index again")
        grey: Grey = reading.prepared
        return grey

    def _reading(self, path: Path) -> Reading:
        (result,) = self.readers.read([str(path)])
        if isinstance(result, PrelimError):
            raise result
        return result
