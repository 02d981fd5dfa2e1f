"""What the bias needs of a tokenizer, and the three families that give it: Hugging Face, SentencePiece, Tekken.

Families differ in where they keep the space before a word (in the word's first token, or in front of the text) and in
how they call it; whoever builds on this protocol asks by encoding and decoding, and never looks at a spelling. Only
`pieces` shows one, because CCD's published rule reads it.
"""

from collections.abc import Sequence
from typing import Final, Protocol

_SPACE: Final = "\u0120"
"""How byte-level vocabularies write a leading space."""


class Tokenizer(Protocol):
    """Text to token ids and back, without special tokens."""

    def encode(self, text: str, /) -> list[int]:
        """The tokens of a text, nothing put before or after them."""

    def decode(self, tokens: Sequence[int], /) -> str:
        """The text of tokens; special ones give nothing."""

    def pieces(self, tokens: Sequence[int], /) -> list[str]:
        """Each token as its vocabulary writes it, with the family's mark for a leading space."""


class _HuggingFace(Protocol):
    def encode(self, text: str, /, *, add_special_tokens: bool) -> list[int]: ...
    # Given one sequence it answers with one text, which its types do not say.
    def decode(
        self, token_ids: list[int], /, *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool
    ) -> object: ...
    def convert_ids_to_tokens(self, ids: int, /) -> object: ...


class HuggingFaceTokenizer:
    """A tokenizer of transformers, without the special tokens and the tidying it does by default."""

    def __init__(self, tokenizer: _HuggingFace) -> None:
        """Take what `AutoTokenizer.from_pretrained` gives."""
        self._tokenizer = tokenizer

    def encode(self, text: str, /) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def decode(self, tokens: Sequence[int], /) -> str:
        # Tidying would take the blank before a full stop away and so move the end of the text.
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def pieces(self, tokens: Sequence[int], /) -> list[str]:
        return [str(self._tokenizer.convert_ids_to_tokens(token)) for token in tokens]


class _SentencePiece(Protocol):
    def EncodeAsIds(self, text: str, /) -> list[int]: ...
    def DecodeIds(self, tokens: list[int], /) -> str: ...
    def IdToPiece(self, token: int, /) -> str: ...


class SentencePieceTokenizer:
    """A SentencePiece model, as Llama 2, Vicuna, Gemma and early Mistral models use."""

    def __init__(self, processor: _SentencePiece) -> None:
        """Take a loaded `sentencepiece.SentencePieceProcessor`."""
        self._processor = processor

    def encode(self, text: str, /) -> list[int]:
        return list(self._processor.EncodeAsIds(text))

    def decode(self, tokens: Sequence[int], /) -> str:
        return self._processor.DecodeIds(list(tokens))

    def pieces(self, tokens: Sequence[int], /) -> list[str]:
        return [self._processor.IdToPiece(token) for token in tokens]


class _Tekken(Protocol):
    def encode(self, s: str, bos: bool, eos: bool) -> list[int]: ...
    def decode(self, tokens: list[int], /) -> str: ...
    def id_to_byte_piece(self, token_id: int, /) -> bytes: ...


class TekkenTokenizer:
    """A Tekken vocabulary (byte-level BPE of Mistral models), as mistral-common reads it."""

    def __init__(self, tokenizer: _Tekken) -> None:
        """Take a loaded `Tekkenizer`."""
        self._tokenizer = tokenizer

    def encode(self, text: str, /) -> list[int]:
        return list(self._tokenizer.encode(text, bos=False, eos=False))

    def decode(self, tokens: Sequence[int], /) -> str:
        return self._tokenizer.decode(list(tokens))

    def pieces(self, tokens: Sequence[int], /) -> list[str]:
        # Written as the same vocabulary is in transformers, where the published rule met it.
        texts = [self._tokenizer.id_to_byte_piece(token).decode("utf-8", "replace") for token in tokens]
        return [_SPACE + text[1:] if text.startswith(" ") else text for text in texts]
