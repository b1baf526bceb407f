"""pandas, Arrow and fsspec on s3fs: tables as Parquet and CSV, globs, walks, appends, ranges, copies, transactions."""

import os
import sys

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FSSpecHandler, PyFileSystem

from tests.clients.scenarios.steps import MIB, content, new_name, run

OPTIONS = {
    "key": os.environ["AWS_ACCESS_KEY_ID"],
    "secret": os.environ["AWS_SECRET_ACCESS_KEY"],
    "client_kwargs": {"endpoint_url": sys.argv[1], "region_name": "us-east-1"},
}
files = fsspec.filesystem("s3", **OPTIONS)
frame = pd.DataFrame({"number": range(200_000), "word": [f"ord å {number % 7}" for number in range(200_000)]})


def made(purpose: str) -> str:
    """A new bucket."""
    name = new_name(purpose)
    files.mkdir(name)
    return name


def tables() -> None:
    """Frames are the same when they come back, whole or by column and by group of rows."""
    name = made("tables")
    at = f"s3://{name}/tables å"
    frame.to_parquet(f"{at}/frame.parquet", storage_options=OPTIONS, row_group_size=50_000)
    pd.testing.assert_frame_equal(pd.read_parquet(f"{at}/frame.parquet", storage_options=OPTIONS), frame)
    column = pd.read_parquet(f"{at}/frame.parquet", columns=["number"], storage_options=OPTIONS)
    assert column["number"].sum() == frame["number"].sum()
    frame.to_csv(f"{at}/frame.csv.gz", index=False, storage_options=OPTIONS)
    pd.testing.assert_frame_equal(pd.read_csv(f"{at}/frame.csv.gz", storage_options=OPTIONS), frame)
    frame.head(10).to_json(f"{at}/head.json", orient="records", lines=True, storage_options=OPTIONS)
    assert len(pd.read_json(f"{at}/head.json", lines=True, storage_options=OPTIONS)) == 10


def data_sets() -> None:
    """Arrow writes a folder of partitions, and reads only those that a filter names."""
    name, arrow = made("sets"), PyFileSystem(FSSpecHandler(files))
    table = pa.Table.from_pandas(frame)
    pq.write_to_dataset(table, f"{name}/set", partition_cols=["word"], filesystem=arrow)
    assert len(files.glob(f"{name}/set/word=*/*.parquet")) == 7
    found = pq.read_table(f"{name}/set", filesystem=arrow, filters=[("word", "=", "ord å 3")])
    assert found.num_rows == sum(number % 7 == 3 for number in range(200_000))


def trees() -> None:
    """Files are found by glob and by walk, copied, moved and removed with all below them."""
    name = made("trees")
    made_files = [f"{name}/{path}" for path in ("a.csv", "b/c.csv", "b/d/e.csv", "b/d/f g+h.txt")]
    for number, path in enumerate(made_files):
        files.pipe(path, content(1000, number))
    assert sorted(files.glob(f"{name}/**/*.csv")) == made_files[:3]
    walked = {folder: sorted(names) for folder, _, names in files.walk(name)}
    assert walked == {name: ["a.csv"], f"{name}/b": ["c.csv"], f"{name}/b/d": ["e.csv", "f g+h.txt"]}
    assert files.du(name) == 4000
    files.copy(f"{name}/b/", f"{name}/copied/", recursive=True)
    assert files.cat(f"{name}/copied/d/f g+h.txt") == content(1000, 3)
    files.mv(f"{name}/copied/c.csv", f"{name}/moved.csv")
    assert not files.exists(f"{name}/copied/c.csv")
    assert files.cat_file(f"{name}/moved.csv", start=10, end=20) == content(1000, 1)[10:20]
    files.rm(name, recursive=True)
    files.invalidate_cache()
    assert not files.exists(name)


def large_files() -> None:
    """Written piece by piece in parts, appended to, read at any place, and not there when the writer gives up."""
    name, body = made("large"), content(23 * MIB, 23)
    at = f"{name}/large"
    with files.open(at, "wb", block_size=5 * MIB) as opened:
        for begin in range(0, len(body), 1_000_000):
            opened.write(body[begin : begin + 1_000_000])
    with files.open(at, "rb", block_size=MIB) as opened:
        opened.seek(11_000_000)
        assert opened.read(100) == body[11_000_000:11_000_100]
        opened.seek(-50, 2)
        assert opened.read() == body[-50:]
    with files.open(at, "ab", block_size=5 * MIB) as opened:
        opened.write(b"the end")
    assert files.cat(at) == body + b"the end"
    try:
        with files.transaction, files.open(f"{name}/given up", "wb") as opened:
            opened.write(body)
            raise InterruptedError
    except InterruptedError:
        pass
    assert files.ls(name, refresh=True) == [at]


if __name__ == "__main__":
    run((tables, data_sets, trees, large_files))
