"""What a case gets: the size of the run, folders, servers, other systems, and where its results go."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from artifactfs.backends import memory
from tests import proxy, servers

from . import services
from .harness import Comparison, Fact, Role, Side, Size, measure
from .services import Service, Work
from .worker import PEERS, Remote, Worker

T = TypeVar("T")


@dataclasses.dataclass
class Results:
    """What a case found; *left_out*: what it could not run, and why."""

    comparisons: list[Comparison] = dataclasses.field(default_factory=list)
    facts: list[Fact] = dataclasses.field(default_factory=list)
    left_out: list[str] = dataclasses.field(default_factory=list)


class Bench:
    """One run of benchmarks, as a context: ends what it started.

    `size` is that of the run; `ram` a folder in memory (where the machine has one), `disk` a folder on a disk.
    """

    def __init__(self, size: Size) -> None:
        self.size = size
        self.results = Results()
        self._ends = contextlib.ExitStack()
        self._ends.callback(services.end)
        shared = "/dev/shm" if os.path.isdir("/dev/shm") else None
        self.ram = Path(self._ends.enter_context(tempfile.TemporaryDirectory(prefix="afb-", dir=shared)))
        self.disk = Path(self._ends.enter_context(tempfile.TemporaryDirectory(prefix="afb-")))
        self._servers: dict[tuple[str, bool], servers.Server] = {}
        self._workers: dict[bool, list[Worker]] = {}
        self._folders: list[str] = []
        self._buckets: dict[str, str] = {}

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    @property
    def tiny(self) -> bool:
        """Whether this is a test: one server, as few calls as show that the case runs."""
        return self.size.name == "tiny"

    def pick(self, *, tiny: T, quick: T, full: T) -> T:
        """What this size of a run takes."""
        return {"tiny": tiny, "quick": quick, "full": full}[self.size.name]

    def folder(self, *, on_disk: bool = False) -> str:
        """A fresh folder, in memory or on a disk; it goes at the end of the case."""
        made = tempfile.mkdtemp(dir=self.disk if on_disk else self.ram)
        self._folders.append(made)
        return made

    # servers

    def server(self, name: str, *, on_disk: bool = False) -> servers.Server:
        """A server of `tests.servers`, with its data in memory or on a disk, that runs until the end of the run."""
        if (name, on_disk) not in self._servers:
            usual, servers.FOLDER = servers.FOLDER, str(self.disk if on_disk else self.ram)
            try:
                self._servers[name, on_disk] = self._ends.enter_context(servers.SERVERS[name]())
            finally:
                servers.FOLDER = usual
        return self._servers[name, on_disk]

    def has(self, name: str) -> bool:
        """Whether that server is there; if it is not, the page will say so."""
        try:
            self.server(name)
        except servers.Missing as missing:
            if os.environ.get("ARTIFACTFS_REQUIRE_SERVERS", "0") not in ("", "0"):
                raise
            self.leave_out(str(missing))
            return False
        return True

    @property
    def s3(self) -> servers.Server:
        """MinIO; where that is not installed, a test takes moto."""
        return self.server("minio" if not self.tiny or self.has("minio") else "moto")

    def bucket(self, server: servers.Server) -> str:
        """The URL of a store in a fresh bucket; a test's stores share one, which is then found fit only once."""
        if not self.tiny:
            return server.bucket()
        if server.name not in self._buckets:
            self._buckets[server.name] = server.bucket()
        return self._buckets[server.name]

    @contextlib.contextmanager
    def counted(self, server: servers.Server) -> Iterator[tuple[servers.Server, proxy.Proxy]]:
        """The server behind a proxy that sees every request, and that proxy."""
        with proxy.in_front_of(server.url) as front:
            yield server.at(front.url), front

    # sides

    def side(self, name: str, role: Role, service: str, told: dict[str, Any], work: Work, **more: Any) -> Side:
        """A side that does *work* with one of `services.SERVICES`, which gets *told*; *more* is `Side`'s.

        It runs here, or in another process where it needs the packages of the peers. Each name of *work* is saved once
        before anything is measured.
        """
        kept: list[Service | Remote] = []

        def prepare() -> None:
            kept.append(self.open(service, told))
            if work.names:
                self.drive(kept[0], dataclasses.replace(work, op="save"), len(work.names))

        def clean() -> None:
            for made in kept:
                made.close()

        def run(calls: int) -> float:
            return self.drive(kept[0], work, calls)

        return Side(name, role, run, prepare, clean=clean, least=work.in_flight, **more)

    def open(self, service: str, told: dict[str, Any]) -> Service | Remote:
        """A service: here, or in the process that has the packages of the peers."""
        if not services.of_peers(service):
            return services.opened(service, told)
        return Remote(self.peers(), service, told)

    @staticmethod
    def drive(made: Service | Remote, work: Work, calls: int) -> float:
        """The seconds that so many calls take."""
        return made.drive(work, calls) if isinstance(made, Remote) else services.drive(made, work, calls)

    def workers(self, count: int, *, peers: bool = False) -> list[Worker]:
        """So many processes that drive services, kept until the end of the run; of the peers' environment if asked."""
        kept = self._workers.setdefault(peers, [])
        while len(kept) < count:
            kept.append(Worker(PEERS) if peers else Worker())
            self._ends.callback(kept[-1].close)
        return kept[:count]

    def peers(self) -> Worker:
        """The process that has the packages of the peers."""
        return self.workers(1, peers=True)[0]

    def has_peers(self) -> bool:
        """Whether their packages are installed; if not, the page will say so."""
        if PEERS.exists():
            return True
        why = "the packages of the peers are not installed: make peers"
        if os.environ.get("ARTIFACTFS_REQUIRE_SERVERS", "0") not in ("", "0"):
            raise servers.Missing(why)
        self.leave_out(why)
        return False

    # results

    def compare(
        self,
        name: str,
        title: str,
        sides: Sequence[Side],
        *,
        group: str,
        base: str,
        x: float | None = None,
        note: str = "",
        rounds: int | None = None,
    ) -> Comparison:
        """Measure the sides, and keep what was found; see `Comparison`. *rounds* if not those of the size."""
        found = Comparison(name, title, group, base, measure(sides, self.size, rounds), x, note)
        self.results.comparisons.append(found)
        return found

    def fact(self, name: str, what: str, value: float, unit: str = "", *, group: str, side: str = "artifactfs") -> None:
        """Keep a number; see `Fact`."""
        self.results.facts.append(Fact(name, group, side, what, value, unit))

    def leave_out(self, why: str) -> None:
        """Something could not be run."""
        if why not in self.results.left_out:
            self.results.left_out.append(why)

    def take(self) -> Results:
        """What was found since the last time, at the end of a case; what that left in memory and in folders goes."""
        found, self.results = self.results, Results()
        memory._roots.clear()
        for made in self._folders:
            shutil.rmtree(made, ignore_errors=True)  # some cases remove what is large themselves
        self._folders.clear()
        return found
