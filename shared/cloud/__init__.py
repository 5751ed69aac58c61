"""The real World's doors to the outside. Loading this loads no SDK: each is loaded by the first call that needs it."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import time
from typing import Final

from shared.cloud import reach
from shared.cloud.account import Account
from shared.cloud.azure import AzureRest
from shared.cloud.azureml import Workspaces
from shared.cloud.blobs import StoredBlobs
from shared.cloud.communication import AcsMail, AcsSms
from shared.cloud.counts import MonitorCounts
from shared.cloud.credentials import Tokens, credential
from shared.cloud.documents import Folder
from shared.cloud.folder import Container
from shared.cloud.github import GitHubTokens
from shared.cloud.http import AioHttp
from shared.cloud.logs import LogAnalytics
from shared.cloud.platform import AzureML
from shared.cloud.serving import Endpoints
from shared.cloud.smtp import SmtpMail
from shared.cloud.topic import KEY, EventGridTopic
from shared.errors import PermanentError
from shared.settings import Secrets, Settings, given
from shared.world import Letter, Mail, Sms, Texted

log: Final = logging.getLogger("switchyard")


@dataclass(frozen=True)
class Doors:
    """`http`: to whom rules name; `inner`: to whom settings and Azure's own answers name."""

    http: AioHttp
    inner: AioHttp
    platform: AzureML
    mail: Mail
    sms: Sms
    github: GitHubTokens
    serving: Endpoints
    counts: MonitorCounts
    topic: EventGridTopic
    documents: Folder | Container
    azure: AzureRest
    workspaces: Workspaces
    logs: LogAnalytics
    blobs: StoredBlobs
    account: Account

    async def close(self) -> None:
        await self.documents.close()
        await self.workspaces.close()
        await self.http.close()
        await self.inner.close()


def doors(settings: Settings, environ: Mapping[str, str], config_folder: Path) -> Doors:
    """What is not set up is there too, and says at its first use what to set."""
    for said in settings.wrong:
        log.warning("a part of a setting is wrong: %s", said)
    http, inner = (AioHttp(reach.of(settings, rules=rules), settings.bounds) for rules in (True, False))
    tokens = Tokens(lambda: credential(settings, environ))
    workspaces = Workspaces(settings, tokens, inner)
    account = Account.of(settings, tokens, inner)
    documents = Container(settings.config, account, _now) if settings.container else Folder(config_folder)
    return Doors(
        http=http,
        inner=inner,
        platform=AzureML(workspaces, documents.copy if isinstance(documents, Container) else config_folder),
        mail=_mail(settings, tokens, inner),
        sms=_sms(settings, tokens, inner),
        github=GitHubTokens(http, Secrets(environ).own, settings.github_api, _now, settings.github_repos),
        serving=Endpoints(workspaces, inner),
        counts=MonitorCounts(workspaces, settings.logs, tokens, inner),
        topic=EventGridTopic(settings.topic, given(environ, KEY), tokens, http),
        documents=documents,
        azure=AzureRest(settings, tokens),
        workspaces=workspaces,
        logs=LogAnalytics(settings.logs, tokens, inner),
        blobs=StoredBlobs(workspaces, settings.blob_suffix, tokens, inner),
        account=account,
    )


def _now() -> datetime:
    return datetime.fromtimestamp(time(), UTC)


def _mail(settings: Settings, tokens: Tokens, http: AioHttp) -> Mail:
    if settings.acs_endpoint and settings.acs_sender:
        return AcsMail(settings.acs_endpoint, settings.acs_sender, tokens, http)
    if settings.smtp_url:
        return SmtpMail(settings.smtp_url, settings.acs_sender)
    return _NoMail()


def _sms(settings: Settings, tokens: Tokens, http: AioHttp) -> Sms:
    if settings.acs_endpoint and settings.sms_from:
        return AcsSms(settings.acs_endpoint, settings.sms_from, tokens, http)
    return _NoSms()


class _NoMail:
    idempotent = True

    async def send(self, letter: Letter, key: str) -> str:  # noqa: ARG002 (world.Mail)
        raise PermanentError("mail is not set up: set ACS_ENDPOINT and ACS_EMAIL_SENDER, or SMTP_URL")


class _NoSms:
    async def send(self, to: object, text: str, key: str) -> list[Texted]:  # noqa: ARG002 (world.Sms)
        raise PermanentError("SMS is not set up: set ACS_ENDPOINT and ACS_SMS_FROM")
