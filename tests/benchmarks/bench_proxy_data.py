"""Streamed shards: 10 GB of synthetic tokens in constant memory, and exact continuation.

Run as ``python -m tests.benchmarks.bench_proxy_data [GB]``. It writes shards of 100 MB into a
temporary folder (TMPDIR), reads them in processes of their own, kills one, and removes all it
wrote. "cold" is after the kernel was told to forget the files; the disk decides it. Remote shards
are read from a store that is a folder here and delivers ``LINE`` bytes a second.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from planner.proxies._data import Batches, Corpus, prepare
from planner.proxies._fetch_ahead import FetchAhead
from planner.proxies._stream import Stream

SHARD = 100_000_000
VOCAB, CONTEXT = 50_257, 256
BATCH = 64
"""Windows read at a time: 16k tokens."""

SECONDS = 6.0
"""How long each reading rate is measured."""

CPU_DEMAND, GPU_DEMAND = 277e3, 1e6
"""Tokens/s: the fastest compiled stack on one core (issue 6), and a GPU on a small model."""

LINE = 5e6
"""Bytes a second that the remote store delivers: a shard of ``REMOTE_SHARD`` in one second."""

REMOTE_SHARD, REMOTE_SHARDS, STEP_SECONDS = 5_000_000, 12, 1.2 / 152
"""Training takes 1.2 times as long on a shard (152 batches) as fetching it."""

SAMPLE_BATCHES = 3_000
KILLED_AFTER = 1_111


def opened(pattern: str, cache: str, **more: Any) -> Corpus:
    return prepare({"shards": pattern, "vocab": VOCAB, **more}, context=CONTEXT, cache=Path(cache))


def peak_memory() -> float:
    """Return the most memory this process ever held, MB (not what a parent held before it)."""
    status = Path("/proc/self/status").read_text()
    return int(next(x for x in status.splitlines() if x.startswith("VmHWM")).split()[1]) / 1024


def forget(pattern: str) -> None:
    """Ask the kernel to drop the files from its cache."""
    folder, name = os.path.split(pattern)
    for path in Path(folder).glob(name):
        file = os.open(path, os.O_RDONLY)
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def rate(draw: Callable[[int], Any], last: int) -> tuple[float, float]:
    """Return tokens per second and per CPU second of batch after batch, for ``SECONDS``."""
    began, used, done = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < SECONDS and done < last:
        draw(done * BATCH)
        done += 1
    tokens = done * BATCH * CONTEXT
    return tokens / (time.perf_counter() - began), tokens / (time.process_time() - used)


def measure(pattern: str, cache: str) -> dict[str, float]:
    began = time.perf_counter()
    corpus = opened(pattern, cache)
    assert isinstance(corpus.train, Stream)
    told = {"prepare": time.perf_counter() - began, "unique": corpus.unique_tokens}
    stream = corpus.train
    batches = Batches(stream, CONTEXT, seed=1)
    last = len(batches) // BATCH - 1

    def in_order(start: int) -> Any:
        shard, first = divmod(start, int(stream.counts.min()) - BATCH)
        return stream.read(np.full(BATCH, shard % len(stream.counts)), first + np.arange(BATCH))

    forget(pattern)
    told["cold"], _ = rate(lambda start: batches.at(start, BATCH), last)
    for _ in range(2):  # the second time from memory, as far as it fits
        told["ordered"], told["ordered_cpu"] = rate(in_order, last)
    told["shuffled"], told["shuffled_cpu"] = rate(
        lambda start: batches.at(start % (400 * BATCH), BATCH), 10**9
    )
    return told | {"memory": peak_memory()}


def digests(pattern: str, cache: str, first: int) -> None:
    """Print a checksum of every batch from ``first`` on."""
    batches = Batches(opened(pattern, cache).train, CONTEXT, seed=3)
    for i in range(first, SAMPLE_BATCHES):
        print(zlib.crc32(batches.at(i * BATCH, BATCH).tobytes()), flush=True)


def resumed(pattern: str, cache: str) -> str:
    """Kill a reader, let another go on; compare with an uninterrupted third."""

    def reader(first: int) -> subprocess.Popen[str]:
        arguments = ["digests", pattern, cache, str(first)]
        command = [sys.executable, "-m", "tests.benchmarks.bench_proxy_data", *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    with reader(0) as process:
        assert process.stdout
        seen = [process.stdout.readline() for _ in range(KILLED_AFTER)]
        process.kill()
    with reader(len(seen)) as process:
        assert process.stdout
        seen += process.stdout.readlines()
    with reader(0) as process:
        assert process.stdout
        whole = process.stdout.readlines()
    same = sum(a == b for a, b in zip(seen, whole, strict=True))
    return f"{same:,} of {len(whole):,} batches the same, killed after {KILLED_AFTER:,}"


def tokenise(folder: str, megabytes: int, cache: str) -> dict[str, float]:
    """Prepare text in Parquet shards of 5 MB; return seconds and memory."""
    for i in range(megabytes // 5):
        words = np.random.default_rng(i).integers(0, 36**5, (1_000, 700))
        rows = [
            " ".join(np.base_repr(w, 36) for w in row[:5]) + row.tobytes().hex()[:4_970]
            for row in words
        ]
        pq.write_table(pa.table({"text": rows}), Path(folder) / f"{i:03}.parquet")
    shards = {"shards": f"{folder}/*.parquet", "evaluation_tokens": 2**16}
    began = time.perf_counter()
    corpus = prepare(shards, context=CONTEXT, cache=Path(cache))
    return {
        "seconds": time.perf_counter() - began,
        "memory": peak_memory(),
        "tokens": corpus.unique_tokens,
    }


class Slow(LocalFileSystem):
    """A folder of this machine as a store behind a line of ``LINE`` bytes a second."""

    protocol = "slow"

    def get_file(self, path: str, target: str, **more: Any) -> None:
        time.sleep(self.size(path) / LINE)
        super().get_file(path, target, **more)


def remote(folder: str, cache: str, ahead: bool) -> dict[str, float]:
    """Train (asleep) on all shards of the slow store; return how long it waited for data."""
    fsspec.register_implementation("slow", Slow)
    data = {"shards": f"slow://{folder}/*.bin", "vocab": VOCAB, "cache": 5 * REMOTE_SHARD}
    corpus = prepare(data, context=CONTEXT, cache=Path(cache))
    batches = Batches(corpus.train, CONTEXT, seed=1)
    deaf = nullcontext() if ahead else mock.patch.object(FetchAhead, "reading")
    largest, began = 0, time.perf_counter()
    with deaf:
        for start in range(0, len(batches) - BATCH, BATCH):
            batches.at(start, BATCH)
            time.sleep(STEP_SECONDS)
            if not start % (20 * BATCH):
                held = Path(cache, "fetched").iterdir()
                largest = max(largest, sum(path.stat().st_size for path in held))
    seconds = time.perf_counter() - began
    return {"waited": batches.waited, "seconds": seconds, "disk": largest / 1e6}


def remote_shards(folder: Path) -> None:
    """Print what fetching ahead saves where the line is about as fast as the training."""
    store = folder / "store"
    store.mkdir()
    for i in range(REMOTE_SHARDS):
        tokens = np.random.default_rng(i).integers(0, VOCAB, REMOTE_SHARD // 2, dtype=np.uint16)
        tokens.tofile(store / f"{i:02}.bin")
    for name, ahead in (("fetched when read", False), ("fetched ahead", True)):
        told = alone(remote, str(store), str(folder / f"remote-{ahead}"), ahead)
        print(
            f"{REMOTE_SHARDS} remote shards of {REMOTE_SHARD / 1e6:.0f} MB at {LINE / 1e6:.0f} "
            f"MB/s, {name}: {told['waited']:.1f} of {told['seconds']:.1f} s waited for data, at "
            f"most {told['disk']:.0f} MB on the disk (cache {5 * REMOTE_SHARD / 1e6:.0f})"
        )


def alone(act: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(act, *arguments).result()


def write_shards(folder: Path, count: int) -> float:
    began = time.perf_counter()
    for i in range(count):
        tokens = np.random.default_rng(i).integers(0, VOCAB, SHARD // 2, dtype=np.uint16)
        tokens.tofile(folder / f"{i:04}.bin")
    return time.perf_counter() - began


def report(folder: Path, gigabytes: float) -> None:
    count = max(1, round(gigabytes * 1e9 / SHARD))
    print(f"wrote {count * SHARD / 1e9:g} GB in {write_shards(folder, count):.0f} s")
    print(
        f"{'GB':>5} {'peak MB':>8} {'prepare s':>9}   tokens/s, millions: cold, "
        "in order, shuffled; shuffled per CPU s"
    )
    told: dict[str, float] = {}
    for name, shards in (("0000", 1), ("000?", 10), ("????", count)):
        if shards <= count:
            told = alone(measure, str(folder / f"{name}.bin"), str(folder / f"cache{shards}"))
            rates = ("cold", "ordered", "shuffled", "shuffled_cpu")
            print(
                f"{shards * SHARD / 1e9:5g} {told['memory']:8.0f} {told['prepare']:9.1f}   "
                + ", ".join(f"{told[kind] / 1e6:.1f}" for kind in rates)
            )
    for who, demand in (("a core's fastest proxy", CPU_DEMAND), ("a GPU's", GPU_DEMAND)):
        print(
            f"{who} demand, {demand / 1e3:,.0f}k tokens/s, keeps the loader busy "
            f"{demand / told['shuffled_cpu']:.1%} of a core; cold it delivers "
            f"{told['cold'] / demand:.1f} times that"
        )
    print("resume:", resumed(str(folder / "????.bin"), str(folder / f"cache{count}")))
    remote_shards(folder)
    for megabytes in (80, 240):
        place = folder / f"text{megabytes}"
        place.mkdir()
        made = alone(tokenise, str(place), megabytes, str(folder / f"textcache{megabytes}"))
        print(
            f"{megabytes} MB of text made into {made['tokens'] / 1e6:.0f}M tokens in "
            f"{made['seconds']:.0f} s, peak {made['memory']:.0f} MB"
        )


def main() -> None:
    if sys.argv[1:2] == ["digests"]:
        digests(*sys.argv[2:4], int(sys.argv[4]))
        return
    gigabytes = float(sys.argv[1]) if sys.argv[1:] else 10.0
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < 1.2e9 * gigabytes + 2e9:
        print(
            f"skipped: {gigabytes:g} GB of shards need {1.2 * gigabytes + 2:.0f} GB of disk and "
            f"{tempfile.gettempdir()} has {free / 1e9:.0f}; set TMPDIR"
        )
        return
    with tempfile.TemporaryDirectory(prefix="shards-") as folder:
        report(Path(folder), gigabytes)


if __name__ == "__main__":
    main()
