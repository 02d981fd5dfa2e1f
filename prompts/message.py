"""What is said to a language model, before any model's own markup: turns of text and images."""

from typing import Literal

from retrieval.record import Record

Branch = Literal["study", "anchored", "evidence", "blind"]
"""One prompt of the same model: image and question; with expert findings; with similar cases; image gone or spoilt."""
Blinding = Literal["noised_image", "disturbed_instruction", "no_image"]
"""How the `blind` branch differs from `study`."""


class ImageRef(Record):
    """The place of one image in a message."""

    name: str
    """Under which the array is handed in."""


class Message(Record):
    """One turn of a conversation; the model's own chat template gives it its markup."""

    role: Literal["system", "user", "assistant"]
    """Who speaks, as chat templates name them."""
    content: tuple[str | ImageRef, ...]
    """Texts and images in reading order. The texts are data: the markup of the model in them is refused."""
