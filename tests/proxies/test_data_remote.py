"""Shards at a URL, and readers that are killed: the same batches, a bounded cache, refusals."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from planner.proxies._stream import Stream
from tests.proxies.shard_files import write_bins
from tests.proxies.stream_tools import all_windows, opened, refuse_late, uploaded

READ = """
import sys, time
from planner.proxies._data import Batches, prepare
data = {"shards": sys.argv[1], "vocab": 300, "evaluation_tokens": 4096, "epochs": 3}
if "::" in sys.argv[1]:
    data["cache"] = 300_000
corpus = prepare(data, context=32)
batches = Batches(corpus.train, 32, seed=11, epochs=3)
for start in range(int(sys.argv[2]), len(batches) - 16, 16):
    sys.stdout.buffer.write(batches.at(start, 16).tobytes())
    sys.stdout.flush()
"""


@pytest.mark.parametrize("remote", [False, True])
def test_a_killed_reader_goes_on_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, remote: bool
) -> None:
    """A process killed in the middle, a second that starts where the first left off."""
    pattern = write_bins(tmp_path / "d")
    if remote:  # a store that several processes see: members of an archive
        with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
            for path in (tmp_path / "d").iterdir():
                archive.write(path, path.name)
        pattern = f"zip://*.bin::{tmp_path / 'd.zip'}"
    monkeypatch.setenv("PLANNER_CACHE", str(tmp_path / "cache"))
    batch = 16 * 33 * 8

    def reader(start: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", READ, pattern, str(start)], stdout=subprocess.PIPE
        )

    with reader(0) as process:
        assert process.stdout
        whole = process.stdout.read()
    with reader(0) as process:
        assert process.stdout
        seen = process.stdout.read(400 * batch + 17)
        process.kill()
    done = len(seen) // batch
    with reader(16 * done) as process:
        assert process.stdout
        rest = process.stdout.read()
    assert len(whole) > 800 * batch
    assert seen[: done * batch] + rest == whole
    if remote:
        held = [p for p in (tmp_path / "cache" / "fetched").iterdir() if p.name[0] != "."]
        assert 0 < sum(p.stat().st_size for p in held) <= 300_000


def test_a_full_cache_drops_the_shards_not_used_for_longest(tmp_path: Path, store) -> None:
    url = uploaded(store, write_bins(tmp_path / "d", count=8, tokens=20_000))
    corpus = opened(tmp_path, shards=url, cache="100k")
    assert isinstance(corpus.train, Stream)
    assert corpus.train.selection.reach is not None
    assert len({row.tobytes() for row in all_windows(corpus)}) * 32 == corpus.unique_tokens
    held = [p for p in (tmp_path / "cache" / "fetched").iterdir() if p.name[0] != "."]
    assert sum(p.stat().st_size for p in held) <= 100_000
    refuse_late(opened(tmp_path, shards=url, cache=30_000), "raise `cache:`")


def test_a_remote_shard_that_fails_is_tried_again_and_then_named(
    tmp_path: Path, store, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = uploaded(store, write_bins(tmp_path / "d"))
    corpus = opened(tmp_path, shards=url)
    get, fails = store.get_file, [2]

    def flaky(*args: object, **options: object) -> object:
        fails[0] -= 1
        if fails[0] >= 0:
            raise ConnectionResetError("the line broke")
        return get(*args, **options)

    monkeypatch.setattr(type(store), "get_file", lambda self, *a, **o: flaky(*a, **o))
    assert len(all_windows(corpus)) * 32 == corpus.unique_tokens
    for path in (tmp_path / "cache" / "fetched").iterdir():
        path.unlink()
    fails[0] = 100
    refuse_late(opened(tmp_path, shards=url), "after 4 attempts: the line broke")


def test_a_shard_that_is_not_what_it_was_is_refused(tmp_path: Path, store) -> None:
    url = uploaded(store, write_bins(tmp_path / "d"))
    corpus = opened(tmp_path, shards=url)
    good = store.cat_file("/data/2.bin")
    store.pipe_file("/data/2.bin", good[:-2])
    refuse_late(corpus, r"2.bin is damaged: 80,398 bytes came of 80,400")
    store.pipe_file("/data/2.bin", bytes(2) + good[2:])
    refuse_late(corpus, r"2.bin is damaged or was changed")
    store.rm_file("/data/2.bin")
    refuse_late(corpus, r"2.bin is not there")
    local = opened(tmp_path, shards=write_bins(tmp_path / "l"))
    (tmp_path / "l" / "3.bin").write_bytes(bytes(10))
    refuse_late(local, "changed while it was in use")
    (tmp_path / "l" / "3.bin").unlink()
    refuse_late(local, "cannot be read: No such file")
