"""Shards of documents that are cut short, or hold what is no text and no tokens."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest

from tests.proxies.shard_files import npy, texts, write_mds, write_table, write_tar
from tests.proxies.test_data_documents import TEXT_KINDS, refuse, write_text


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_a_shard_cut_short_is_named(kind: str, tmp_path: Path) -> None:
    path = write_text(tmp_path / "d", kind, texts(600))
    shard = next(p for p in sorted(path.parent.iterdir(), reverse=True) if p.suffix != ".json")
    os.truncate(shard, int(0.7 * shard.stat().st_size))
    sentence = "a.jsonl, line .* is not JSON" if kind == "jsonl" else "damaged|cut short|which has"
    refuse(tmp_path, sentence, shards=str(path))


def test_wrong_documents_get_a_sentence(tmp_path: Path) -> None:
    table = write_table(tmp_path / "a.parquet", texts(5), field="body")
    for field, sentence in (
        ("text", r"no column 'text' \(it has: id, body\).*`field:`"),
        ("id", "column 'id' holds int64, text or lists of whole numbers"),
    ):
        refuse(tmp_path, sentence, shards=str(table), field=field)
    refuse(tmp_path, "leave `vocab:` out", shards=str(table), field="body", vocab=9)
    packed = write_mds(tmp_path / "m", [b"x"], "pkl")
    refuse(tmp_path, r"no column 'body' \(it has: id, text\)", shards=str(packed), field="body")
    refuse(tmp_path, "encoded as pkl; str, bytes, ndarray and json are read", shards=str(packed))
    (tmp_path / "m" / "shard.00000.mds").unlink()
    refuse(tmp_path, "names the shard shard.00000.mds .* is missing", shards=str(packed))
    wide = [np.arange(99, dtype=np.int64)]
    wide = write_mds(tmp_path / "w", wide, "bytes")
    refuse(tmp_path, "write `dtype: int64`", shards=str(wide), vocab=99)
    packed.write_text("[]")
    refuse(tmp_path, "no index of MDS shards", shards=str(packed))
    described = json.dumps({"url": "x"}).encode()
    tar = write_tar(tmp_path / "a.tar", [("1.json", described), ("1.jpg", b"x")])
    refuse(tmp_path, "holds no document.*it has .jpg, .json", shards=str(tar))
    evil = np.array([{}] * 9)
    tar = write_tar(tmp_path / "a.tar", [("1.npy", pickled(evil))])
    refuse(tmp_path, "damaged .*allow_pickle=False", shards=str(tar))
    tar = write_tar(tmp_path / "a.tar", [("1.npy", npy(np.zeros(9)))])
    refuse(tmp_path, "holds float64", shards=str(tar))
    tar = write_tar(tmp_path / "a.tar", [("1.npy", npy(np.arange(9)))])
    refuse(tmp_path, "state the tokenizer's `vocab:`", shards=str(tar))
    refuse(tmp_path, "outside the vocabulary of 5", shards=str(tar), vocab=5)
    tar = write_tar(tmp_path / "a.tar", [("1.npy", npy(np.arange(-1, 9)))])
    refuse(tmp_path, r"outside \[0, 2\^32\)", shards=str(tar), vocab=5)
    members = [("1.txt", b"text"), ("2.npy", npy(np.arange(9)))]
    tar = write_tar(tmp_path / "a.tar", members)
    refuse(tmp_path, "begin with text and .* holds tokens", shards=str(tar))


def pickled(array: np.ndarray) -> bytes:
    held = io.BytesIO()
    np.save(held, array, allow_pickle=True)
    return held.getvalue()
