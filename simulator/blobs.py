"""Blob storage to read: accounts are folders here, and containers theirs. What the model data collector and the payment desk write
is there; a test puts more.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import md5
from typing import Final
from xml.sax.saxutils import escape

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Host, Route, Router

from simulator.arm import PROVIDER, WORKSPACE, Json, Refused, door, guid, system_data
from simulator.azureml import AzureML, Version, Workspace
from simulator.faults import Handler, faulty
from simulator.outcomes import Outcomes, hours
from simulator.state import Simulated

PREFIX: Final = "/blobs"
ACCOUNT: Final = "prodml"
CONTAINER: Final = "azureml-blobstore-3f1c6a52-8d04-4f0e-9a53-6b1f7e0d2c11"
DATASTORE: Final = "workspaceblobstore"
_BACK: Final = timedelta(days=45)
_VERSION: Final = "2025-07-05"
_PAGE: Final = 5000
_ERRORS: Final = {
    401: "NoAuthenticationInformation",
    404: "BlobNotFound",
    416: "InvalidRange",
}

type Content = Callable[[], bytes]


@dataclass
class BlobStorage:
    """`files`: what was put, by account, container and name."""

    sim: Simulated
    azureml: AzureML
    outcomes: Outcomes
    here: Workspace
    endpoint: str
    files: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    signatures: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        uri = f"azureml://subscriptions/{self.here.subscription}/resourcegroups/mlops/workspaces/{self.here.name}/datastores/{DATASTORE}/paths/fraud-labels/"
        body: Json = {
            "dataType": "uri_folder",
            "dataUri": f"{uri}{{yyyy}}/{{MM}}/{{dd}}/",
            "description": "truth of fraud",
        }
        self.here.data.setdefault("fraud-labels", {})["1"] = Version("fraud-labels", "1", body, self.sim.clock.now())

    def put(self, account: str, container: str, name: str, content: bytes) -> None:
        self.files[account, container, name] = content

    def opened(self, account: str, container: str) -> str:
        """The address of a container with a signature that lets its bearer read and write there."""
        signature = guid()
        self.signatures.add(signature)
        return f"{self.sim.base}{PREFIX}/{account}/{container}?sv={_VERSION}&sr=c&sp=rcwl&sig={signature}"

    def routes(self) -> list[BaseRoute]:
        blob = PREFIX + "/{account}/{container}/{name:path}"
        # As tools address an account that know its name and the cloud's suffix only.
        own = Router(
            [
                Route("/{container}", self._door(self._list)),
                Route("/{container}/{name:path}", self._door(self._read), methods=["GET", "HEAD"]),
                Route("/{container}/{name:path}", self._door(self._write), methods=["PUT"]),
            ]
        )
        return [
            Host("{account}.blob.localhost", own),
            Route(WORKSPACE + "/datastores/{name}", door(self.sim, "arm", self._datastore)),
            Route(WORKSPACE + "/data/{name}", door(self.sim, "arm", self._asset)),
            Route(PREFIX + "/{account}/{container}", self._door(self._list)),
            Route(blob, self._door(self._read), methods=["GET", "HEAD"]),
            Route(blob, self._door(self._write), methods=["PUT"]),
        ]

    def _door(self, handler: Handler) -> Handler:
        async def answer(request: Request) -> Response:
            self.sim.clock.settle()
            signed = request.query_params.get("sig") in self.signatures
            if not signed and not request.headers.get("authorization", "").startswith("Bearer "):
                return _refusal(401, "NoAuthenticationInformation")
            return await handler(request)

        return faulty(
            self.sim, "blob", lambda status: {"error": {"code": "ServerBusy", "message": str(status)}}, answer
        )

    # What the workspace says of it

    async def _datastore(self, request: Request) -> Response:
        here, name = self.azureml.here(request), request.path_params["name"]
        if name != DATASTORE:
            raise Refused(404, "UserError", f"Datastore {name} was not found.", "NotFound")
        return JSONResponse(
            {
                "id": f"{here.path}/datastores/{name}",
                "name": name,
                "type": f"{PROVIDER}/workspaces/datastores",
                "properties": {
                    "datastoreType": "AzureBlob",
                    "accountName": ACCOUNT,
                    "containerName": CONTAINER,
                    "endpoint": "core.windows.net",
                    "protocol": "https",
                    "isDefault": True,
                    "credentials": {"credentialsType": "None"},
                },
                "systemData": system_data(self.sim.clock.now()),
            }
        )

    async def _asset(self, request: Request) -> Response:
        here, name = self.azureml.here(request), request.path_params["name"]
        versions = here.data.get(name)
        if not versions:
            raise Refused(404, "UserError", f"Data asset '{name}' was not found.", "NotFound")
        latest = max(versions, key=lambda one: (int(one) if one.isdecimal() else 0, one))
        properties = {"latestVersion": latest, "dataType": versions[latest].body.get("dataType"), "isArchived": False}
        return JSONResponse({"id": f"{here.path}/data/{name}", "name": name, "properties": properties})

    # What lies there

    def _all(self, account: str, container: str) -> Iterator[tuple[str, Content]]:
        now = self.sim.clock.now()
        for (of, within, name), content in self.files.items():
            if (of, within) == (account, container):
                yield name, lambda content=content: content  # type: ignore[misc]  # a default binds it
        if (account, container) != (ACCOUNT, CONTAINER):
            return
        source = f"{self.here.path}/onlineEndpoints/{self.endpoint}/deployments/blue"
        days = set()
        for at in hours(_BACK, now):
            begin, day = at.timestamp(), at.replace(hour=0)
            home = f"modelDataCollector/{self.endpoint}/blue/model_outputs"
            yield (
                f"{home}/{at:%Y/%m/%d/%H}/blue-7d9f-0.jsonl",
                lambda begin=begin: self.outcomes.collected(source, begin, now.timestamp()),  # type: ignore[misc]
            )
            if day not in days:
                days.add(day)
                yield (
                    f"fraud-labels/{day:%Y/%m/%d}/desk.jsonl",
                    lambda day=day: self.outcomes.labelled(day.timestamp(), now.timestamp()),  # type: ignore[misc]
                )

    def _known(self, account: str, container: str) -> bool:
        return (account, container) in {(ACCOUNT, CONTAINER), *((of, within) for of, within, _ in self.files)}

    async def _list(self, request: Request) -> Response:
        account, container = request.path_params["account"], request.path_params["container"]
        asked = request.query_params
        if asked.get("restype") != "container" or asked.get("comp") != "list":
            return _refusal(400, "InvalidQueryParameterValue")
        if not self._known(account, container):
            return _refusal(404, "ContainerNotFound")
        prefix, delimiter, marker = asked.get("prefix", ""), asked.get("delimiter", ""), asked.get("marker", "")
        entries: dict[str, Content | None] = {}
        for name, content in sorted(self._all(account, container), key=lambda one: one[0]):
            if not name.startswith(prefix):
                continue
            head, cut, _ = name.removeprefix(prefix).partition(delimiter) if delimiter else (name, "", "")
            entries[f"{prefix}{head}{cut}" if cut else name] = None if cut else content
        names = [name for name in sorted(entries) if name >= marker]
        page = min(int(asked.get("maxresults", _PAGE)), _PAGE)
        shown, rest = names[:page], names[page : page + 1]
        items = "".join(self._item(name, entries[name]) for name in shown)
        body = (
            '<?xml version="1.0" encoding="utf-8"?>'
            f'<EnumerationResults ServiceEndpoint="{escape(self.sim.base)}{PREFIX}/{account}/" ContainerName="{escape(container)}">'
            f"<Prefix>{escape(prefix)}</Prefix><Blobs>{items}</Blobs><NextMarker>{escape(rest[0]) if rest else ''}</NextMarker>"
            "</EnumerationResults>"
        )
        return Response(body, headers={"x-ms-version": _VERSION}, media_type="application/xml")

    def _item(self, name: str, content: Content | None) -> str:
        if content is None:
            return f"<BlobPrefix><Name>{escape(name)}</Name></BlobPrefix>"
        raw = content()
        return (
            f"<Blob><Name>{escape(name)}</Name><Properties><Last-Modified>{_date(self.sim.clock.now())}</Last-Modified>"
            f"<Etag>{_etag(raw)}</Etag><Content-Length>{len(raw)}</Content-Length>"
            "<Content-Type>application/octet-stream</Content-Type><BlobType>BlockBlob</BlobType>"
            "</Properties></Blob>"
        )

    async def _write(self, request: Request) -> Response:
        """A block blob in one piece, or its metadata, which nobody reads here."""
        account, container, name = (request.path_params[part] for part in ("account", "container", "name"))
        kind = request.query_params.get("comp")
        if kind not in {None, "metadata"}:
            return _refusal(400, "InvalidQueryParameterValue")
        if kind is None:
            self.put(account, container, name, await request.body())
        raw = self.files.get((account, container, name))
        if raw is None:
            return _refusal(404, "BlobNotFound")
        headers = {"x-ms-version": _VERSION, "ETag": _etag(raw), "Last-Modified": _date(self.sim.clock.now())}
        return Response(status_code=200 if kind else 201, headers=headers)

    async def _read(self, request: Request) -> Response:
        account, container, wanted = (request.path_params[part] for part in ("account", "container", "name"))
        if not self._known(account, container):
            return _refusal(404, "ContainerNotFound")
        found = next((content for name, content in self._all(account, container) if name == wanted), None)
        if found is None:
            return _refusal(404, "BlobNotFound")
        raw = found()
        headers = {
            "x-ms-version": _VERSION,
            "x-ms-blob-type": "BlockBlob",
            "ETag": _etag(raw),
            "Last-Modified": _date(self.sim.clock.now()),
            "Accept-Ranges": "bytes",
        }
        span = request.headers.get("x-ms-range") or request.headers.get("range")
        if span is None or request.method == "HEAD":
            return Response(raw, headers=headers, media_type="application/octet-stream")
        first, _, last = span.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last or len(raw)), len(raw) - 1)
        if start >= len(raw):
            return _refusal(416, "InvalidRange")
        headers["Content-Range"] = f"bytes {start}-{end}/{len(raw)}"
        return Response(raw[start : end + 1], 206, headers, "application/octet-stream")


def _refusal(status: int, code: str) -> Response:
    body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'
    return Response(body, status, {"x-ms-error-code": code, "x-ms-version": _VERSION}, "application/xml")


def _etag(raw: bytes) -> str:
    return f'"0x{md5(raw, usedforsecurity=False).hexdigest()[:15].upper()}"'


def _date(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%a, %d %b %Y %H:%M:%S GMT}"
