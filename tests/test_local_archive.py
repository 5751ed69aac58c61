"""The embedded archive, and that of the tests, keep the promises of `world.Archive`."""

from pathlib import Path

import pytest

from local.archive import FileArchive
from tests.archive_contract import MONDAY, ArchiveContract, lines
from tests.world import MemoryArchive


class TestFileArchive(ArchiveContract):
    @pytest.fixture
    def archive(self, tmp_path: Path) -> FileArchive:
        return FileArchive(tmp_path / "archive")


class TestMemoryArchive(ArchiveContract):
    @pytest.fixture
    def archive(self) -> MemoryArchive:
        return MemoryArchive()


@pytest.mark.parametrize("torn", ["x", "x" * 200_000])
@pytest.mark.parametrize("whole", ["", "one\ntwo\n"])
async def test_the_half_of_a_line_that_a_kill_left_is_no_line_and_spoils_none(
    tmp_path: Path, whole: str, torn: str
) -> None:
    archive = FileArchive(tmp_path)
    (tmp_path / f"{MONDAY}.jsonl").write_text(whole + torn)
    assert await lines(archive, MONDAY) == whole.splitlines()
    await archive.append(MONDAY, ["three"])
    assert await lines(archive, MONDAY) == [*whole.splitlines(), "three"]


async def test_other_files_beside_are_left_alone(tmp_path: Path) -> None:
    archive, notes = FileArchive(tmp_path), tmp_path / "notes.txt"
    notes.write_text("mine")
    await archive.append(MONDAY, ["a"])
    assert await archive.prune(MONDAY.replace(year=2030)) == 1
    assert list(await archive.days()) == []
    assert notes.read_text() == "mine"
