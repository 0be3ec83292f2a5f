"""What the packages do whose stores are imported, run by their own environment's Python: ``python work.py SERVICE``.

A JSON object with what the service needs comes on standard input. It saves a little of everything that the service takes,
and prints all that its own loader gives: a list of objects with ``app, user, session, name, version, data`` (base64, null
where it loads nothing or a reference), ``mime_type, text, uri``.
"""

from __future__ import annotations

import asyncio
import base64
import importlib
import json
import logging
import os
import sys
import types
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

logging.disable(logging.CRITICAL)


def service(kind: str, told: dict[str, Any]) -> Any:
    if kind == "adk-file":
        from google.adk.artifacts.file_artifact_service import FileArtifactService

        return FileArtifactService(told["root"])
    if kind == "adk-gcs":
        os.environ["STORAGE_EMULATOR_HOST"] = told["endpoint"]
        from google.adk.artifacts.gcs_artifact_service import GcsArtifactService
        from google.auth.credentials import AnonymousCredentials

        return GcsArtifactService(told["bucket"], project="test", credentials=AnonymousCredentials())
    if kind == "adk-s3":
        # The package imports all that it has, of which its artifact service needs nothing.
        package = types.ModuleType("google.adk_community")
        google = importlib.import_module("google.adk").__path__[0]
        package.__path__ = [os.path.join(os.path.dirname(google), "adk_community")]
        sys.modules["google.adk_community"] = package
        made = importlib.import_module("google.adk_community.artifacts.s3_artifact_service")
        return _of_one_client(made.S3ArtifactService(told["bucket"], aws_configs=_client(told)))
    if kind == "solace":
        from solace_agent_mesh.agent.adk.artifacts.filesystem_artifact_service import FilesystemArtifactService

        return FilesystemArtifactService(told["root"])
    from solace_agent_mesh.agent.adk.artifacts.s3_artifact_service import S3ArtifactService

    return S3ArtifactService(told["bucket"], **_client(told))


def _of_one_client(made: Any) -> Any:
    """Each call of the service makes a client of its own, which takes longer than all else that is done here."""
    kept: list[Any] = []

    @asynccontextmanager
    async def client() -> AsyncIterator[Any]:
        if not kept:
            kept.append(await (await made._get_session()).client(service_name="s3", **made.aws_configs).__aenter__())
        yield kept[0]

    made._client = client
    return made


def _client(told: dict[str, Any]) -> dict[str, Any]:
    return {
        "endpoint_url": told["endpoint"],
        "aws_access_key_id": told["key"],
        "aws_secret_access_key": told["secret"],
        "region_name": "us-east-1",
    }


async def save(into: Any, place: tuple[str, str, str | None], name: str, part: Any, **more: Any) -> None:
    app, user, session = place
    await into.save_artifact(app_name=app, user_id=user, session_id=session, filename=name, artifact=part, **more)


S1, S2, BOB = ("shop", "alice", "s1"), ("shop", "alice", "s2"), ("shop", "bob@example.com", "s 1")


async def write(kind: str, told: dict[str, Any], into: Any) -> list[tuple[str, str, str | None]]:
    """Save; the scopes that were saved into."""
    from google.genai import types as genai

    def part(data: bytes, mime_type: str = "text/csv", name: str | None = None) -> Any:
        return genai.Part(inline_data=genai.Blob(data=data, mime_type=mime_type, display_name=name))

    adk = kind.startswith("adk")
    for number in range(12 if "root" in told else 3):
        await save(into, S1, "report.csv", part(b"day,sold\n" + b"1,%d\n" % number))
    await save(into, S1, "Übersicht März.csv", part("grün".encode(), "text/csv"))
    await save(into, S1, "user:logo.svg", part(b"<svg/>", "image/svg+xml"))
    await save(into, S2, "user:logo.svg", part(b"<svg></svg>", "image/svg+xml"))
    await save(into, S2, "empty.txt", part(b"", "text/plain"))
    await save(into, BOB, "by mail.eml", part(b"From: somebody", "message/rfc822"))
    if kind in ("adk-file", "solace-s3"):
        await save(into, BOB, "long.bin", part(bytes(range(256)) * 4096 * 9, "application/x-thing"))
    if kind != "solace":
        await save(into, S2, "reports/q1.csv", part(b"slashes"))
    if not adk:
        await save(into, S1, "report.csv.metadata.json", part(json.dumps(RICH).encode(), "application/json"))
        await save(into, ("team/dev", "alice", "s1"), "of-a-team.txt", part(b"namespaces", "text/plain"))
        if kind == "solace":  # whose namespace's last part is all that it keeps, here nothing
            await save(into, ("team/", "carol", "s9"), "lost.txt", part(b"no app", "text/plain"))
        return [S1, S2, BOB, ("team/dev", "alice", "s1")]
    custom = {"stage": "final", "round": 3, "tags": ["a", "b"]}
    await save(into, S1, "with metadata.json", part(b"{}", "application/json"), custom_metadata=custom)
    await save(into, S1, "note", genai.Part(text="plain – text"))
    if kind == "adk-s3":
        return [S1, S2, BOB]
    await save(into, S1, "named.pdf", part(b"%PDF", "application/pdf", "A name for people.pdf"))
    for data in (b"one", b"two"):
        await save(into, S2, "taken back.txt", part(data, "text/plain"))
    await save(into, S2, "taken back.txt", part(b"", "application/octet-stream"))
    await save(into, S2, "taken back.txt", part(b"three", "text/plain"))
    if kind == "adk-gcs":
        one = "artifact://apps/shop/users/alice/sessions/s1/artifacts/report.csv/versions/1"
        refer = genai.Part(file_data=genai.FileData(file_uri=one, mime_type="text/csv"))
        await save(into, S1, "reference.csv", refer)
        far = genai.Part(file_data=genai.FileData(file_uri="gs://elsewhere/paper.pdf", mime_type="application/pdf"))
        await save(into, S1, "pointer.pdf", far)
    if kind == "adk-file":
        await save(into, ("shop", "alice", None), "of the user.txt", part(b"no session", "text/plain"))
        await save(into, S1, "report.csv/inner.csv", part(b"nested"))
    return [S1, S2, BOB]


UNLISTED: dict[str, list[tuple[str, str, str | None, str]]] = {
    "adk-file": [("shop", "alice", None, "of the user.txt")],
    "adk-s3": [(*S2, "reports/q1.csv")],
    "solace-s3": [(*S2, "reports/q1.csv"), ("team/dev", "alice", "s1", "of-a-team.txt")],
    "solace": [("team/", "carol", "s9", "lost.txt")],
}
"""What the service loads, and does not list: what lies in a scope beside the one that is asked for, or has more slashes
than it counts with.
"""

RICH = {"description": "what was sold", "tags": ["till", "4"], "size_bytes": 13}


async def read(kind: str, of: Any, scopes: list[tuple[str, str, str | None]]) -> list[dict[str, Any]]:
    known = [(*place, 0) for place in UNLISTED.get(kind, [])]
    for app, user, session in scopes:
        scope = {"app_name": app, "user_id": user, "session_id": session}
        for name in await of.list_artifact_keys(**scope):
            known += [(app, user, session, name, n) for n in await of.list_versions(**scope, filename=name)]
    found = []
    for app, user, session, name, version in known:
        part = await of.load_artifact(app_name=app, user_id=user, session_id=session, filename=name, version=version)
        found.append({"app": app, "user": user, "session": session, "name": name, "version": version, **_part(part)})
    return found


def _part(part: Any) -> dict[str, Any]:
    data, mime_type, uri = None, None, None
    if part is not None and part.text is not None:
        data = part.text.encode()
    elif part is not None and part.file_data is not None:
        uri = part.file_data.file_uri
    elif part is not None:
        data, mime_type = part.inline_data.data, part.inline_data.mime_type
    text = part is not None and part.text is not None
    shown = None if data is None else base64.b64encode(data).decode()
    return {"data": shown, "mime_type": mime_type, "text": text, "uri": uri}


def amfs(told: dict[str, Any]) -> list[dict[str, Any]]:
    from amfs_core.models import MemoryEntry, Provenance
    from amfs_s3 import S3Adapter

    adapter = S3Adapter(told["bucket"], prefix=told["prefix"], namespace="team", **_client(told))
    for path, key, values in (
        ("repo", "src/app.py", ["print(1)", "print(2)", "print(3)"]),
        ("repo/docs", "risk", [{"a": [1, None]}]),
    ):
        for number, value in enumerate(values):
            at = f"2026-01-0{number + 1}T10:00:00.25Z"
            provenance = Provenance(agent_id="agent", session_id="s", written_at=at)
            adapter.write(MemoryEntry(entity_path=path, key=key, value=value, provenance=provenance))
    return [json.loads(entry.model_dump_json()) for entry in adapter.list(include_superseded=True)]


async def work(kind: str, told: dict[str, Any]) -> list[dict[str, Any]]:
    made = service(kind, told)
    return await read(kind, made, await write(kind, told, made))


if __name__ == "__main__":
    told = json.load(sys.stdin)
    json.dump(amfs(told) if sys.argv[1] == "amfs" else asyncio.run(work(sys.argv[1], told)), sys.stdout)
