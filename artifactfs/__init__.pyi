from artifactfs.async_store import AsyncArtifactStore as AsyncArtifactStore
from artifactfs.async_store import AsyncScope as AsyncScope
from artifactfs.backends.base import Abilities as Abilities
from artifactfs.diff import Diff as Diff
from artifactfs.errors import AccessDenied as AccessDenied
from artifactfs.errors import ArtifactError as ArtifactError
from artifactfs.errors import ArtifactNotFound as ArtifactNotFound
from artifactfs.errors import BackendError as BackendError
from artifactfs.errors import BackendUnavailable as BackendUnavailable
from artifactfs.errors import Conflict as Conflict
from artifactfs.errors import ForeignPayload as ForeignPayload
from artifactfs.errors import ImmutableVersion as ImmutableVersion
from artifactfs.errors import IntegrityError as IntegrityError
from artifactfs.errors import InvalidConfig as InvalidConfig
from artifactfs.errors import InvalidMetadata as InvalidMetadata
from artifactfs.errors import InvalidName as InvalidName
from artifactfs.errors import InvalidRef as InvalidRef
from artifactfs.errors import KeyUnavailable as KeyUnavailable
from artifactfs.errors import PayloadTooLarge as PayloadTooLarge
from artifactfs.errors import PointerNotManaged as PointerNotManaged
from artifactfs.errors import UnsafeBackend as UnsafeBackend
from artifactfs.errors import UnsupportedFormat as UnsupportedFormat
from artifactfs.errors import VersionNotFound as VersionNotFound
from artifactfs.files import ArtifactReader as ArtifactReader
from artifactfs.files import ArtifactWriter as ArtifactWriter
from artifactfs.following import Follow as Follow
from artifactfs.importing import Imported as Imported
from artifactfs.importing import ImportNote as ImportNote
from artifactfs.importing import import_artifacts as import_artifacts
from artifactfs.inventory.refresh import Inventory as Inventory
from artifactfs.keys.base import Identity as Identity
from artifactfs.keys.base import KeyProvider as KeyProvider
from artifactfs.operations.reading import Artifact as Artifact
from artifactfs.operations.undo import Undo as Undo
from artifactfs.operations.undo import UndoStep as UndoStep
from artifactfs.protocol.gc import Collected as Collected
from artifactfs.protocol.gc import Leftover as Leftover
from artifactfs.protocol.prune import Pruned as Pruned
from artifactfs.protocol.prune import PrunedVersion as PrunedVersion
from artifactfs.protocol.rotate import Rotated as Rotated
from artifactfs.protocol.verify import Verified as Verified
from artifactfs.records import Blob as Blob
from artifactfs.records import Pointer as Pointer
from artifactfs.records import Record as Record
from artifactfs.records import Removed as Removed
from artifactfs.refs import Ref as Ref
from artifactfs.retention import RetentionPolicy as RetentionPolicy
from artifactfs.retention import RetentionRule as RetentionRule
from artifactfs.search.query import AsyncHits as AsyncHits
from artifactfs.search.query import Hit as Hit
from artifactfs.search.query import Hits as Hits
from artifactfs.store import ArtifactStore as ArtifactStore
from artifactfs.store import Scope as Scope
from artifactfs.verifying import Damaged as Damaged
from artifactfs.verifying import VerifyReport as VerifyReport
from artifactfs.watch.events import Event as Event
from artifactfs.watch.watches import AsyncWatch as AsyncWatch
from artifactfs.watch.watches import Watch as Watch

__version__: str
__all__ = [
    "Abilities",
    "AccessDenied",
    "Artifact",
    "ArtifactError",
    "ArtifactNotFound",
    "ArtifactReader",
    "ArtifactStore",
    "ArtifactWriter",
    "AsyncArtifactStore",
    "AsyncHits",
    "AsyncScope",
    "AsyncWatch",
    "BackendError",
    "BackendUnavailable",
    "Blob",
    "Collected",
    "Conflict",
    "Damaged",
    "Diff",
    "Event",
    "Follow",
    "ForeignPayload",
    "Hit",
    "Hits",
    "Identity",
    "ImmutableVersion",
    "ImportNote",
    "Imported",
    "IntegrityError",
    "InvalidConfig",
    "InvalidMetadata",
    "InvalidName",
    "InvalidRef",
    "Inventory",
    "KeyProvider",
    "KeyUnavailable",
    "Leftover",
    "PayloadTooLarge",
    "Pointer",
    "PointerNotManaged",
    "Pruned",
    "PrunedVersion",
    "Record",
    "Ref",
    "Removed",
    "RetentionPolicy",
    "RetentionRule",
    "Rotated",
    "Scope",
    "Undo",
    "UndoStep",
    "UnsafeBackend",
    "UnsupportedFormat",
    "Verified",
    "VerifyReport",
    "VersionNotFound",
    "Watch",
    "import_artifacts",
]
