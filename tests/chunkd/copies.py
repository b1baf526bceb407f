"""Chunks in a store, and what may become of their files."""

from pathlib import Path

from chunkd.blocks import name_chunk
from chunkd.reading import PIECE_BYTES
from chunkd.seen import Name
from chunkd.store import Store


def put(store: Store, data: bytes, *, seen: int = 1, space: int = 1) -> Name:
    chunk_id, hashes = name_chunk(data)
    upload = store.begin((space, chunk_id), len(data), hashes, seen)
    if upload is not None:
        try:
            for start in range(0, len(data), PIECE_BYTES):
                upload.write(memoryview(data)[start : start + PIECE_BYTES])
            store.finish(upload, seen)
        finally:
            store.discard(upload)
    return space, chunk_id


def read(store: Store, name: Name) -> bytes:
    chunk = store.open_chunk(name)
    data = bytearray(chunk.length)
    chunk.read_into(memoryview(data), 0)
    chunk.close()
    return bytes(data)


def file_of(tmp_path: Path, name: Name) -> Path:
    return tmp_path / "disk" / f"space-{name[0]}" / f"{name[1][0]:02x}" / name[1].hex()


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def damaged(path: Path, damage: str) -> None:
    content = path.read_bytes()
    match damage:
        case "flip":
            flip(path, len(content) - 1)
        case "header":
            flip(path, 30)
        case "short":
            path.write_bytes(content[:-1])
        case "long":
            path.write_bytes(content + b"x")
        case "empty":
            path.write_bytes(b"")


def told(store: Store, revision: int) -> None:
    store.seen.present(1, store.seen.boot, revision)
