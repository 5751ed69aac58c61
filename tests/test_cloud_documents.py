"""Texts of the configuration folder: as they are now, and of no other folder."""

from pathlib import Path

import pytest

from shared.cloud.documents import Folder
from shared.errors import PermanentError, TemporaryError
from tests.documents_contract import DocumentsContract, DocumentsPlace


class TestFolder(DocumentsContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> DocumentsPlace:
        folder = Folder(tmp_path)

        async def write(name: str, raw: bytes) -> None:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(raw)

        async def drop(name: str) -> None:
            (tmp_path / name).unlink()

        async def settle() -> None:
            """It needs no time, but a second look."""

        return DocumentsPlace(folder, write, drop, settle)


async def test_a_folder_that_is_out_of_reach_has_not_become_empty(tmp_path: Path) -> None:
    config = tmp_path / "config"
    (config / "rules").mkdir(parents=True)
    folder = Folder(config)
    assert await folder.changed() == {}
    config.rename(tmp_path / "elsewhere")
    with pytest.raises(TemporaryError, match="there is no configuration folder"):
        await folder.changed()
    (tmp_path / "elsewhere").rename(config)
    assert await folder.changed() is None


async def test_a_document_is_read_as_it_is_now(tmp_path: Path) -> None:
    (tmp_path / "assessments").mkdir()
    path, folder = tmp_path / "assessments" / "fraud.yaml", Folder(tmp_path)
    assert await folder.read("assessments/fraud.yaml") is None
    path.write_bytes(b"\xef\xbb\xbffallback: \xe4\xba\xba")
    assert await folder.read("assessments/fraud.yaml") == "fallback: 人"
    path.write_text("fallback: none")
    assert await folder.read("assessments/fraud.yaml") == "fallback: none"
    assert await folder.read("assessments") is None


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/hostname", "assessments/../../secret.txt", "link.txt"])
async def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "config" / "assessments").mkdir(parents=True)
    (tmp_path / "config" / "link.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(PermanentError, match="is outside of the configuration folder"):
        await Folder(tmp_path / "config").read(name)


@pytest.mark.parametrize("name", ["a\0b", "broken.txt"])
async def test_what_can_not_be_read_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "broken.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(PermanentError, match="in the configuration folder can't be read"):
        await Folder(tmp_path).read(name)
