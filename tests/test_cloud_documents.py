"""Texts of the configuration folder: as they are now, and of no other folder."""

from pathlib import Path

import pytest

from shared.cloud.documents import Folder
from shared.errors import PermanentError


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
