"""The promises of a store, as tests: subclass `StoreConformance` and give one fixture.

    class TestMyStore(StoreConformance):
        @pytest.fixture
        def store(self):
            with ArtifactStore("my://somewhere") as store:
                yield store

Every test works in an app of its own, so that one store may serve them all.
"""

from __future__ import annotations

from artifactfs.testing.store_history import History
from artifactfs.testing.store_lists import Listing
from artifactfs.testing.store_reading import Reading
from artifactfs.testing.store_saving import Saving
from artifactfs.testing.store_tags import Tagging
from artifactfs.testing.store_upkeep import Upkeep


class StoreConformance(Saving, Reading, Listing, Tagging, History, Upkeep):
    """What saving, reading, listing, taking away and tagging promise, whatever store lies below."""
