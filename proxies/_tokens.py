"""Decides how text becomes token ids, and what a file of ready-made token ids must look like.

Bytes are the default vocabulary: token = byte, and a document ends with byte 0 (removed from inside
the text, where it has no business). A `tokenizers` JSON ends documents with its own end-of-text
token, or with one id beyond its vocabulary when it has none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from planner.errors import DataError

Tokens = npt.NDArray[Any]
"""Token ids: uint8, uint16 or uint32."""

END_OF_TEXT = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[SEP]")
"""Names under which common tokenizers keep their end-of-text token."""


class Encoder(Protocol):
    """Turns documents into token ids below ``vocab``, each document closed by its separator."""

    vocab: int

    def encode(self, text: bytes) -> Tokens:
        """Return the ids of a document and its separator."""
        ...


class ByteEncoder:
    """One token a byte."""

    vocab = 256

    def encode(self, text: bytes) -> Tokens:
        """Return the bytes of a document and a zero."""
        return np.frombuffer(text.replace(b"\0", b"") + b"\0", dtype=np.uint8)


class JsonEncoder:
    """A `tokenizers` JSON file."""

    def __init__(self, path: Path) -> None:
        try:
            from tokenizers import Tokenizer  # an extra: asked for only where it is used
        except ImportError:
            raise DataError(
                "a tokenizer JSON needs the package `tokenizers`: install it with "
                "`pip install 'scaling-planner[tokenizers]'`, or use `tokenizer: bytes`"
            ) from None
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the package raises bare Exception for a bad file
            raise DataError(f"{path} is not a `tokenizers` JSON file: {error}") from error
        size = self._tokenizer.get_vocab_size()
        found = [self._tokenizer.token_to_id(name) for name in END_OF_TEXT]
        self._end = next((end for end in found if end is not None), size)
        self.vocab = max(size, self._end + 1)
        self._dtype = smallest_dtype(self.vocab)

    def encode(self, text: bytes) -> Tokens:
        """Return the ids of a document and its end-of-text token."""
        ids = self._tokenizer.encode(text.decode("utf-8", "replace"), add_special_tokens=False).ids
        return np.array([*ids, self._end], dtype=self._dtype)


def make_encoder(tokenizer: str) -> Encoder:
    """Return the encoder an option names: ``bytes`` or the path of a JSON file."""
    if tokenizer == "bytes":
        return ByteEncoder()
    if not Path(tokenizer).is_file():
        raise DataError(
            f"tokenizer: {tokenizer} does not exist; write `bytes` or the path of a tokenizer JSON"
        )
    return JsonEncoder(Path(tokenizer))


def smallest_dtype(vocab: int) -> npt.DTypeLike:
    """Return the smallest unsigned type that holds every id below ``vocab``."""
    return next(t for t in (np.uint8, np.uint16, np.uint32) if vocab - 1 <= np.iinfo(t).max)


def open_tokens(path: Path, dtype: str) -> Tokens:
    """Return the ids of a .bin or .npy file, memory-mapped. Raises DataError with what is wrong."""
    if path.name.endswith(".npy"):
        return _open_npy(path)
    if not path.name.endswith(".bin"):
        raise DataError(f"{path}: token files end with .bin or .npy; text goes under `files:`")
    size, width = path.stat().st_size, np.dtype(dtype).itemsize
    if size == 0 or size % width:
        raise DataError(
            f"{path} has {size:,} bytes, which is no whole number of {dtype} tokens: state the "
            "right `dtype:` (uint8, uint16 or uint32), or write the file again"
        )
    tokens = np.memmap(path, dtype=dtype, mode="r")
    check_width(tokens, dtype, path)
    return tokens


def check_width(tokens: Tokens, dtype: str, path: Path | str) -> None:
    """Raise DataError when uint16 tokens look like wider ones."""
    if dtype == "uint16" and len(tokens) > 1 and not tokens[1 : 2**16 : 2].any():
        wide = "uint32" if len(tokens) < 4 or tokens[2 : 2**16 : 4].any() else "int64"
        raise DataError(
            f"{path}: every second uint16 is 0, which is what {wide} tokens look like: write "
            f"`dtype: {wide}`"
        )


def check_ids(tokens: Tokens, vocab: int, path: Path | str) -> None:
    """Raise DataError when an id lies outside [0, vocab)."""
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or high >= vocab:
        raise DataError(
            f"{path} holds token id {low if low < 0 else high}, outside the vocabulary of {vocab} "
            "(0 to vocab - 1): state the tokenizer's `vocab:`, or check that `dtype:` is right"
        )


def _open_npy(path: Path) -> Tokens:
    try:
        tokens: Tokens = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(f"{path} is not an array file that numpy can read: {error}") from error
    if tokens.ndim != 1 or tokens.dtype.kind not in "iu" or not len(tokens):
        raise DataError(
            f"{path} holds {tokens.dtype} of shape {tokens.shape}: token ids are whole numbers in "
            "one dimension"
        )
    return tokens
