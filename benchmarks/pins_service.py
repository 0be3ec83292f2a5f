"""pins, which keeps data frames and JSON: what is saved is text in JSON, for the bytes are what is compared."""

from __future__ import annotations

import base64
from typing import Any

from .services import Service


class Pins(Service):
    """A board in a folder."""

    def __init__(self, root: str) -> None:
        self._first: dict[str, str] = {}
        self.board = self._board("file", root, {})

    @staticmethod
    def _board(protocol: str, path: str, options: dict[str, Any]) -> Any:
        import pins
        from pins.config import pins_options

        pins_options.quiet = True
        return pins.board(protocol, path, cache=None, storage_options=options)

    def save(self, name: str, data: bytes) -> None:
        text = base64.b64encode(data).decode()
        meta = self.board.pin_write(text, name, type="json", title=name, force_identical_write=True)
        self._first.setdefault(name, meta.version.version)

    def load(self, name: str) -> bytes:
        return self.read(name, self._first[name])

    def latest(self, name: str) -> bytes:
        return self.read(name, None)

    def read(self, name: str, version: str | None) -> bytes:
        return base64.b64decode(self.board.pin_read(name, version))

    def versions(self, name: str) -> list[str]:
        return [one.version for one in self.board.pin_versions(name, as_df=False)]

    def names(self) -> list[str]:
        return list(self.board.pin_list())


class PinsS3(Pins):
    """A board in a bucket; nothing of it is kept on this machine."""

    def __init__(self, bucket: str, endpoint: str, key: str, secret: str) -> None:
        self._first = {}
        self.board = self._board("s3", bucket, {"endpoint_url": endpoint, "key": key, "secret": secret})
