"""The configuration: what was written is read back; what is wrong is named, with what is allowed."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.config import (
    FILE_NAME,
    ApiConfig,
    ChunkdConfig,
    Config,
    MemberConfig,
    S3Config,
    StewardConfig,
    TcpAddress,
    UnixAddress,
    address,
    dump,
    invalid,
    load,
)
from cluster.errors import Refused
from cluster.limits import UNIX_PATH_BYTES_MAX, Limits, Timings


def member(slot: int) -> MemberConfig:
    return MemberConfig(
        name=f"meta-{slot}", slot=slot, incarnation="00" * 16, listen=f"unix:run/m{slot}", directory=f"meta-{slot}"
    )


def config(members: int = 3, **fields: object) -> Config:
    values: dict[str, object] = {
        "format": 1,
        "cluster_id": "c1",
        "member": tuple(member(slot) for slot in range(1, members + 1)),
        "chunkd": (
            ChunkdConfig(name="node-1", disk_id="ab" * 16, listen="unix:run/c1", directory="disk-1", zone="rack 1"),
            ChunkdConfig(name="node-2", disk_id="cd" * 16, listen="tcp:0.0.0.0:0", dial="tcp:h2:7001", directory="d"),
        ),
        "api": (ApiConfig(name="api-1"),),
        "steward": (StewardConfig(name="steward-1", host="h3"),),
    }
    return Config(**{**values, **fields})  # type: ignore[arg-type]


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / FILE_NAME
    file.write_text(text, "utf-8")
    return file


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(Refused) as caught:
        load(written(tmp_path, text))
    assert caught.value.code == "BadConfig"
    return caught.value.message


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    sent = config(
        s3=S3Config(domains=("s3.example", "s3.localhost"), region="eu-here-1", sigv2=True),
        limits=Limits(inline_bytes=1000, free_percent_min=2.5),
        timings=Timings(connect_s=0.25),
    )
    received = load(written(tmp_path, dump(sent)))
    assert received.base == str(tmp_path)
    assert dump(received) == dump(sent)
    assert received.nodes == sent.nodes
    assert (received.limits, received.timings) == (sent.limits, sent.timings)


@given(text=st.text(max_size=40))
def test_any_text_survives_the_file(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    sent = config(chunkd=(ChunkdConfig(name="node-1", disk_id="ab", listen="unix:x", directory="d", zone=text),))
    file = written(tmp_path_factory.mktemp("config"), dump(sent))
    assert load(file).chunkd[0].zone == text


def test_defaults_of_limits_and_timings_are_not_written() -> None:
    assert "[limits]" not in dump(config())
    assert "connect_s = 0.5" in dump(config(timings=Timings(connect_s=0.5)))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("cluster_id", "clusterid", "did you mean 'cluster_id'"),
        ("slot = 1", 'slott = 1\nslot = "x"', "'member.slott'; did you mean 'slot'"),
        ("format = 1", "format = 2", "format is 2; this version reads 1"),
        ("slot = 1", 'slot = "one"', "slot"),
        ("slot = 3", "slot = 2", "slots must be 1 to 3"),
        ('name = "meta-2"', 'name = "meta-1"', "given twice: meta-1"),
        ("unix:run/c1", "udp:run/c1", "neither unix:PATH nor tcp:HOST:PORT"),
        ("unix:run/c1", "tcp:host:70000", "port 0 to 65535"),
        ("copies = 3", "copies = 0", "copies is 0"),
        ("format = 1", "format 1", "not TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    text = dump(config())
    assert old in text
    assert says in refusal(tmp_path, text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ("[limits]\ninline_byte = 1\n", "'limits.inline_byte'; did you mean 'inline_bytes'"),
        ("[limits]\ninline_bytes = 100000\n", "at most 16384"),
        ("[timings]\nconnect_s = -1\n", "connect_s is -1"),
        ("[timings]\nconnect_s = 'soon'\n", "connect_s"),
        ("[nonsense]\nx = 1\n", "unknown key 'nonsense'; known are: api"),
    ],
)
def test_what_is_wrong_in_a_section_is_named(tmp_path: Path, section: str, says: str) -> None:
    assert says in refusal(tmp_path, dump(config()) + section)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="trilith init"):
        load(tmp_path / "none.toml")
    file = tmp_path / FILE_NAME
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(Refused, match="not TOML"):
        load(file)


@pytest.mark.parametrize("members", [0, 2, 4, 6])
def test_a_quorum_has_one_three_or_five_slots(members: int) -> None:
    assert "1, 3 or 5" in str(invalid(config(members)))


@pytest.mark.parametrize("members", [1, 3, 5])
def test_a_right_number_of_members_is_valid(members: int) -> None:
    assert invalid(config(members)) is None


def test_nodes_are_found_by_name() -> None:
    made = config()
    assert [node.name for node in made.nodes] == [
        "meta-1",
        "meta-2",
        "meta-3",
        "node-1",
        "node-2",
        "api-1",
        "steward-1",
    ]
    assert made.role("node-2") is made.chunkd[1]
    with pytest.raises(Refused, match="there are: meta-1"):
        made.role("meta-9")


def test_a_file_from_before_there_were_stewards_is_read(tmp_path: Path) -> None:
    text = dump(config(steward=()))
    assert "steward" not in text
    assert load(written(tmp_path, text)).steward == ()


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    received = load(written(tmp_path, dump(config())))
    assert received.path("disk-1") == tmp_path / "disk-1"
    assert received.path("/abs") == Path("/abs")
    assert address("unix:run/x", str(tmp_path)) == UnixAddress(f"{tmp_path}/run/x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unix:/a/b", UnixAddress("/a/b")),
        ("tcp:127.0.0.1:0", TcpAddress("127.0.0.1", 0)),
        ("tcp:[::1]:65535", TcpAddress("::1", 65535)),
        ("tcp:node-1.example:9000", TcpAddress("node-1.example", 9000)),
    ],
)
def test_addresses_are_read_and_written(text: str, expected: object) -> None:
    assert address(text) == expected
    assert str(address(text)) == text


@pytest.mark.parametrize(
    "text", ["", "unix:", "tcp:", "tcp:h", "tcp:h:", "tcp::1", "tcp:h:-1", "tcp:h:x", "tcp:h:٣", "h:1"]
)
def test_a_bad_address_is_refused(text: str) -> None:
    with pytest.raises(Refused) as caught:
        address(text)
    assert caught.value.code == "BadAddress"


def test_a_socket_path_that_the_kernel_cannot_take_is_refused_with_its_length() -> None:
    assert address("unix:/" + "x" * (UNIX_PATH_BYTES_MAX - 1)) is not None
    with pytest.raises(Refused, match="108 bytes; at most 107"):
        address("unix:/" + "x" * UNIX_PATH_BYTES_MAX)
    with pytest.raises(Refused, match="109 bytes"):
        address("unix:" + "ä" * 52, "/" + "y" * 3)


@pytest.mark.parametrize(
    ("section", "word"),
    [
        (S3Config(domains=("S3.example",)), "s3.domains has 'S3.example'"),
        (S3Config(domains=("s3.example:9000",)), "and no port"),
        (S3Config(region=""), "s3.region is ''"),
    ],
)
def test_what_no_s3_client_could_use_is_refused(section: S3Config, word: str) -> None:
    reason = invalid(config(s3=section))
    assert reason is not None
    assert word in reason
