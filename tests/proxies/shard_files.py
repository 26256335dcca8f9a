"""Writers of every kind of shard, by hand where the library that does it is no dependency."""

import io
import json
import struct
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard


def ids(count, vocab=300, seed=0, dtype=np.uint16):
    return np.random.default_rng(seed).integers(0, vocab, count).astype(dtype)


def texts(count, seed=0, length=300):
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list("abcdefgh é\n"), length)) for _ in range(count)]


def lists(count, seed=0, length=200):
    return list(ids(count * length, seed=seed).reshape(count, length))


def write_bins(folder, count=5, tokens=40_000, dtype=np.uint16):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        ids(tokens + 100 * i, seed=i, dtype=dtype).tofile(folder / f"{i}.bin")
    return str(folder / "*.bin")


def write_megatron(path, sequences, code=8, magic=b"MMIDIDX\x00\x00"):
    """Write path.bin and path.idx as Megatron's builder does, a document a sequence."""
    dtype = {4: "<i4", 8: "<u2"}[code]
    path.with_suffix(".bin").write_bytes(b"".join(s.astype(dtype).tobytes() for s in sequences))
    lengths = np.array([len(s) for s in sequences], "<i4")
    positions = np.cumsum([0, *lengths[:-1]]).astype("<i8") * np.dtype(dtype).itemsize
    bounds = np.arange(len(sequences) + 1, dtype="<i8")
    head = magic + struct.pack("<QBQQ", 1, code, len(sequences), len(bounds))
    body = lengths.tobytes() + positions.tobytes() + bounds.tobytes()
    path.with_suffix(".idx").write_bytes(head + body)
    return path


def write_tar(path, members):
    with tarfile.open(path, "w:gz" if path.suffix in (".tgz", ".gz") else "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def npy(array):
    held = io.BytesIO()
    np.save(held, array)
    return held.getvalue()


def write_mds(folder, documents, encoding, field="text", packed=False):
    """Write one shard and its index as the library does."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = {
        "column_encodings": ["int", encoding],
        "column_names": ["id", field],
        "column_sizes": [8, None],
    }
    described = json.dumps(columns).encode()
    samples = []
    for i, document in enumerate(documents):
        data = document if isinstance(document, bytes) else array_bytes(document, encoding)
        samples.append(struct.pack("<I", len(data)) + struct.pack("<q", i) + data)
    first = 4 * (len(samples) + 2) + len(described)
    ends = np.cumsum([first, *map(len, samples)]).astype("<u4")
    shard = struct.pack("<I", len(samples)) + ends.tobytes() + described + b"".join(samples)
    name = "shard.00000.mds"
    file = {"raw_data": {"basename": name, "bytes": len(shard)}, "zip_data": None}
    if packed:
        shard, name = zstandard.compress(shard), name + ".zstd"
        file["zip_data"] = {"basename": name, "bytes": len(shard)}
    (folder / name).write_bytes(shard)
    (folder / "index.json").write_text(json.dumps({"version": 2, "shards": [columns | file]}))
    return folder / "index.json"


def array_bytes(array, encoding):
    if encoding == "bytes":
        return array.tobytes()
    free = b"" if ":" in encoding else bytes([16])
    return free + bytes([1 << 2 | 1]) + struct.pack("<H", len(array)) + array.tobytes()


def write_table(path, column, field="text"):
    table = pa.table({"id": list(range(len(column))), field: column})
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=100)
    elif path.suffix == ".ipc":
        with pa.ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=100)
    else:
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=100)
    return path
