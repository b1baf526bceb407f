"""Parts of a page of the docs that a command produces: what stands between their two marks is replaced."""

from pathlib import Path


def put(file: Path, name: str, text: str) -> None:
    """Replace the part of that name. Raises ValueError if the page has no place for it."""
    begin, end = f"<!-- {name}: produced, do not edit -->\n", f"\n<!-- end of {name} -->"
    page = file.read_text()
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{file} has no part {name!r}: it begins with {begin.strip()} and ends with {end.strip()}")
    file.write_text(before + begin + text + end + after)
