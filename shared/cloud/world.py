"""The real World: on Azure, everything together."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from shared.cloud import Doors, doors
from shared.cloud.archive import BlobArchive
from shared.cloud.dead_letters import BlobDeadLetters
from shared.cloud.queue import AzureQueue
from shared.cloud.shelf import AzureShelf
from shared.cloud.store import AzureStore
from shared.settings import ROLLOUT_QUEUE, WORK_QUEUE, Secrets, Settings
from shared.world import World


@dataclass(frozen=True)
class AzureWorld(World):
    """One a process: on Azure its connections stay open as long as that lives. Whoever ends before closes it."""

    queue: AzureQueue
    store: AzureStore
    shelf: AzureShelf
    rollouts: AzureQueue
    archive: BlobArchive
    dead_letters: BlobDeadLetters
    doors: Doors

    async def close(self) -> None:
        await self.store.close()
        await self.shelf.close()
        await self.queue.close()
        await self.rollouts.close()
        await self.archive.close()
        await self.dead_letters.close()
        await self.doors.close()


def world(settings: Settings, environ: Mapping[str, str]) -> AzureWorld:
    """Raises PermanentError, naming the settings, when there is no storage account."""

    def now() -> datetime:
        return datetime.now(UTC)  # noqa: TID251 (the clock of the real World is the wall's)

    out = doors(settings, environ, Path(settings.config))
    account = out.account
    account.check()
    queue = AzureQueue(account, WORK_QUEUE)
    return AzureWorld(
        clock=now,
        http=out.http,
        secret=Secrets(environ),
        platform=out.platform,
        mail=out.mail,
        sms=out.sms,
        github=out.github,
        queue=queue,
        store=AzureStore(account, queue, now),
        serving=out.serving,
        counts=out.counts,
        topic=out.topic,
        documents=out.documents,
        shelf=AzureShelf(account),
        rollouts=AzureQueue(account, ROLLOUT_QUEUE),
        archive=BlobArchive(account),
        azure=out.azure,
        logs=out.logs,
        blobs=out.blobs,
        dead_letters=BlobDeadLetters(account),
        doors=out,
    )
