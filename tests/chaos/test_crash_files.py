"""The model of what a crash leaves: what was synced is certain, and each piece of the rest may be there or not."""

from pathlib import PurePath
from random import Random

from chaos.crash_files import PAGE_BYTES, Choice, Files

FOLDER = PurePath("/m")
A, B = FOLDER / "a", FOLDER / "b"


def contents(files: Files, subsets: int = 0) -> set[tuple[tuple[str, bytes], ...]]:
    """All states that are found, as names and contents."""
    return {
        tuple(sorted((path.name, content) for path, content in files.after(choice).items()))
        for choice in files.choices(Random(1), subsets)
    }


def test_what_was_not_synced_may_be_there_or_not_each_piece_by_itself() -> None:
    files = Files({A: b"...."})
    files.write(A, 0, b"1")
    files.write(A, 2, b"2")
    assert contents(files) == {((("a"), found),) for found in (b"....", b"1...", b"..2.", b"1.2.")}


def test_what_was_written_before_a_sync_began_is_certain_and_no_more() -> None:
    files = Files({A: b".."})
    files.write(A, 0, b"1")
    began = files.now
    files.write(A, 1, b"2")
    files.sync(A, began)
    assert contents(files) == {(("a", b"1."),), (("a", b"12"),)}


def test_names_are_certain_after_a_sync_of_the_folder_alone() -> None:
    files = Files({A: b"old"})
    files.create(B)
    files.write(B, 0, b"new")
    files.sync(B, files.now)
    files.rename(B, A)
    assert (("a", b"old"),) in contents(files)
    assert (("a", b"new"),) in contents(files)
    files.sync(FOLDER, files.now)
    assert contents(files) == {(("a", b"new"),)}
    files.unlink(A)
    assert contents(files) == {(("a", b"new"),), ()}


def test_a_write_over_pages_is_in_pieces_and_a_page_may_be_torn() -> None:
    files = Files({A: b""})
    files.write(A, 0, b"x" * (2 * PAGE_BYTES))
    lengths = {len(dict(state)["a"].rstrip(b"\0")) for state in contents(files, 40)}
    assert {0, PAGE_BYTES, 2 * PAGE_BYTES} < lengths
    assert all(length % 512 == 0 for length in lengths)
    assert lengths & set(range(512, PAGE_BYTES, 512))


def test_a_size_that_was_not_synced_may_be_lost_and_zeros_take_no_byte_away() -> None:
    files = Files({A: b"12"})
    files.resize(A, 4, least=True)
    files.resize(A, 1)
    assert contents(files) == {(("a", found),) for found in (b"12", b"12\0\0", b"1")}
    assert files.content(A) == b"1"


def test_equal_states_have_one_identity_and_others_another() -> None:
    files = Files({A: b"."})
    files.write(A, 0, b"1")
    first = {files.identity(choice): files.after(choice) for choice in files.choices(Random(1), 0)}
    files.write(A, 0, b"2")
    second = {files.identity(choice): files.after(choice) for choice in files.choices(Random(1), 0)}
    for identity in first.keys() & second.keys():
        assert first[identity] == second[identity]
    assert files.identity(Choice(frozenset())) in first.keys() & second.keys()
    files.sync(A, files.now)
    assert files.identity(Choice(frozenset())) not in first
