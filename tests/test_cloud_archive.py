"""The archive on Azure keeps the promises of `world.Archive`, against Azurite."""

from collections.abc import AsyncIterator

import pytest

from shared.cloud.archive import BlobArchive
from tests.archive_contract import ArchiveContract
from tests.test_cloud_store import nobody


class TestBlobArchive(ArchiveContract):
    @pytest.fixture
    async def archive(self, account: str) -> AsyncIterator[BlobArchive]:
        made = BlobArchive(account, nobody())
        yield made
        await made.close()
