"""The artifact services of Google's ADK and of Solace Agent Mesh, as their packages have them."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import types
from typing import Any

from google.genai import types as genai

from .services import SCOPE, Service

logging.disable(logging.CRITICAL)
_APP, _USER, _SESSION = SCOPE


class _Adk(Service):
    """Whatever has the interface of ADK's ``BaseArtifactService``, which Solace's services have too."""

    def __init__(self, service: Any) -> None:
        self._service = service
        self._place = {"app_name": _APP, "user_id": _USER, "session_id": _SESSION}

    async def save(self, name: str, data: bytes) -> None:
        part = genai.Part(inline_data=genai.Blob(data=data, mime_type="application/octet-stream"))
        await self._service.save_artifact(**self._place, filename=name, artifact=part)

    async def load(self, name: str) -> bytes:
        return await self.read(name, 0)

    async def latest(self, name: str) -> bytes:
        return await self.read(name, None)

    async def read(self, name: str, version: int | None) -> bytes:
        part = await self._service.load_artifact(**self._place, filename=name, version=version)
        found: bytes = part.inline_data.data
        return found

    async def versions(self, name: str) -> list[int]:
        found: list[int] = await self._service.list_versions(**self._place, filename=name)
        return found

    async def history(self, name: str) -> list[Any]:
        found: list[Any] = await self._service.list_artifact_versions(**self._place, filename=name)
        return found

    async def names(self) -> list[str]:
        found: list[str] = await self._service.list_artifact_keys(**self._place)
        return found


class AdkMemory(_Adk):
    def __init__(self) -> None:
        from google.adk.artifacts.in_memory_artifact_service import InMemoryArtifactService

        super().__init__(InMemoryArtifactService())


class AdkFile(_Adk):
    def __init__(self, root: str) -> None:
        from google.adk.artifacts.file_artifact_service import FileArtifactService

        super().__init__(FileArtifactService(root))


class AdkGcs(_Adk):
    def __init__(self, bucket: str, endpoint: str) -> None:
        os.environ["STORAGE_EMULATOR_HOST"] = endpoint
        from google.adk.artifacts.gcs_artifact_service import GcsArtifactService
        from google.auth.credentials import AnonymousCredentials

        super().__init__(GcsArtifactService(bucket, project="test", credentials=AnonymousCredentials()))


class AdkS3(_Adk):
    """The S3 service of ADK's community package, which makes a client for every call."""

    def __init__(self, bucket: str, endpoint: str, key: str, secret: str) -> None:
        # The package imports all that it has, of which its artifact service needs nothing.
        package = types.ModuleType("google.adk_community")
        google = importlib.import_module("google.adk").__path__[0]
        package.__path__ = [os.path.join(os.path.dirname(google), "adk_community")]
        sys.modules["google.adk_community"] = package
        made = importlib.import_module("google.adk_community.artifacts.s3_artifact_service")
        super().__init__(made.S3ArtifactService(bucket, aws_configs=_client(endpoint, key, secret)))


class Solace(_Adk):
    def __init__(self, root: str) -> None:
        from solace_agent_mesh.agent.adk.artifacts.filesystem_artifact_service import FilesystemArtifactService

        super().__init__(FilesystemArtifactService(root))


class SolaceS3(_Adk):
    def __init__(self, bucket: str, endpoint: str, key: str, secret: str) -> None:
        from solace_agent_mesh.agent.adk.artifacts.s3_artifact_service import S3ArtifactService

        super().__init__(S3ArtifactService(bucket, **_client(endpoint, key, secret)))


def _client(endpoint: str, key: str, secret: str) -> dict[str, Any]:
    return {
        "endpoint_url": endpoint,
        "aws_access_key_id": key,
        "aws_secret_access_key": secret,
        "region_name": "us-east-1",
    }
