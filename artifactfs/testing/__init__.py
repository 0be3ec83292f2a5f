"""What proves a backend or a store: conformance suites, a state machine, a simulator, backends that count."""

from __future__ import annotations

import sys

_SUITES = ("backend", "codec", "machine", "own_store", "store_base", "store_lists", "store_reading", "store_saving")

# So that a failing assertion of a shipped suite shows its values, as one of the user's own tests does.
if "pytest" in sys.modules:
    sys.modules["pytest"].register_assert_rewrite(*(f"{__name__}.{suite}" for suite in _SUITES))
