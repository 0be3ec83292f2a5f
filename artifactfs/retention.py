"""Which versions are kept, and for how long: a policy of rules, and what they decide. Pure, no I/O.

A policy is read from plain values (of a YAML file, mostly)::

    rules:                      # the first one that fits an artifact decides; what none fits is kept
      - name: "*.log"           # patterns for app, user, session and name: * ? [seq], case matters
        keep_within: 7d         # weeks, days and hours: 2w, 7d, 1d12h
      - app: shop
        keep_last: 10
        keep_daily: 14          # the newest of each of the last 14 days that have any; UTC
        expire_removed: 30d     # what was removed so long ago goes as a whole
      - keep_all: true

or in the form of Solace Agent Mesh: ``enabled``, ``task_retention_days``, ``cleanup_interval_hours``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import msgspec

from artifactfs.errors import InvalidConfig

PERIODS: dict[str, Callable[[datetime], tuple[int, ...]]] = {
    "hourly": lambda at: (at.year, at.month, at.day, at.hour),
    "daily": lambda at: (at.year, at.month, at.day),
    "weekly": lambda at: at.isocalendar()[:2],
    "monthly": lambda at: (at.year, at.month),
}
"""How the periods of thinning are told apart, of a time in UTC: weeks are those of ISO 8601, from Monday on."""

LONGEST = timedelta(days=36_500)
"""The longest duration that a rule may name; whoever needs more writes ``keep_all``."""

SECTIONS = ("retention", "data_retention")
"""Keys under which a policy may stand in a file."""

_PATTERNS = ("app", "user", "session", "name")
_COUNTS = ("keep_last", *(f"keep_{period}" for period in PERIODS))
_DURATIONS = ("keep_within", "expire_removed")
_DURATION = re.compile(r"(?=\d)(?:(\d{1,9})w)? ?(?:(\d{1,9})d)? ?(?:(\d{1,9})h)?")


class RetentionRule(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of the artifacts that it fits: each version that any of its ``keep_`` settings keeps, and no other.

    A version that a tag names is always kept.

    Attributes:
        app, user, session, name: patterns as of a shell, whose ``*`` also stands for slashes; None fits all. A rule with a
            *session* fits nothing that sessions share. The name of what they share begins with ``user:``.
        keep_all: every version.
        keep_last: so many of the newest. Removals are none of them.
        keep_within: those that were stored so long ago, or are stamped so, at most.
        keep_hourly, keep_daily, keep_weekly, keep_monthly: the newest version of each period (UTC; weeks begin on Monday),
            for so many of the newest periods that have any. Each counts by itself.
        keep_newest: the newest version, that of a removed artifact too.
        expire_removed: an artifact whose newest version is a removal, stored longer ago than this, goes as a whole.

    Raises:
        InvalidConfig: a value makes no sense, or nothing says what is kept.
    """

    app: str | None = None
    user: str | None = None
    session: str | None = None
    name: str | None = None
    keep_all: bool = False
    keep_last: int | None = None
    keep_within: timedelta | None = None
    keep_hourly: int | None = None
    keep_daily: int | None = None
    keep_weekly: int | None = None
    keep_monthly: int | None = None
    keep_newest: bool = True
    expire_removed: timedelta | None = None

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            value = getattr(self, field)
            if value is not None and (wrong := _wrong(field, value)):
                raise _refused(f".{field}", wrong)
        given = [field for field in (*_COUNTS, "keep_within") if getattr(self, field) is not None]
        if self.keep_all and given:
            raise _refused(f".{given[0]}", "keeps less than keep_all does; leave one of them out")
        if not (self.keep_all or given):
            raise _refused("", "should say what is kept: keep_last, keep_within, keep_daily, … or keep_all")

    @property
    def thins(self) -> bool:
        """Whether it takes the times of all versions to decide."""
        return any(getattr(self, f"keep_{period}") is not None for period in PERIODS)

    def fits_scope(self, app: str, is_user: Callable[[str], bool], session: str | None) -> bool:
        """Whether it may fit an artifact there: of a session, or where it is None of what a user's sessions share."""
        return (
            (self.app is None or fnmatchcase(app, self.app))
            and (self.user is None or is_user(self.user))
            and (self.session is None or (session is not None and fnmatchcase(session, self.session)))
        )


class RetentionPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Rules, of which the first that fits an artifact decides on it. What none of them fits is kept.

    Attributes:
        rules: in the order in which they are asked.
        every: how often whoever runs it means to prune; None where that is not said. Nothing here runs by itself.
    """

    rules: tuple[RetentionRule, ...]
    every: timedelta | None = None

    def within(
        self, app: str, is_user: Callable[[str], bool], session: str | None
    ) -> Callable[[str], tuple[str, RetentionRule] | None]:
        """Where the rules in a scope are looked up: by name, how a report calls the first rule that fits, and the rule."""
        near = [
            (f"rules[{place}]", rule) for place, rule in enumerate(self.rules) if rule.fits_scope(app, is_user, session)
        ]
        prefix = "user:" if session is None else ""

        def rule_of(name: str) -> tuple[str, RetentionRule] | None:
            shown = prefix + name
            return next((one for one in near if one[1].name is None or fnmatchcase(shown, one[1].name)), None)

        return rule_of

    def concerns(self, app: str, is_user: Callable[[str], bool], session: str | None) -> bool:
        """Whether anything may be deleted in a scope."""
        return any(
            rule.fits_scope(app, is_user, session) and (not rule.keep_all or rule.expire_removed is not None)
            for rule in self.rules
        )


class Candidate(NamedTuple):
    """A version, as far as the decision needs to know it.

    `stored` is the store's time of its payload. `time` is its timestamp; None where that was not looked at. `held` says why
    it cannot be judged, and is empty where it can.
    """

    number: int
    stored: datetime
    time: datetime | None = None
    removal: bool = False
    tags: tuple[str, ...] = ()
    held: str = ""


def decide(rule: RetentionRule, versions: Sequence[Candidate], now: datetime) -> dict[int, tuple[str, ...]]:
    """For each of an artifact's *versions* what keeps it: nothing, where it is to go.

    *now* is by the store's clock. What cannot be judged is kept, and counts for nothing else. A removal is kept as long as a
    version below it is, so that what was removed never comes back into view. Deciding again on what is kept changes nothing.
    """
    kept = _kept(rule, versions, now, _is_expired(rule, versions, now))
    left = [version for version in versions if kept[version.number]]
    if _is_expired(rule, left, now):  # what was newer than the removal goes as well
        return _kept(rule, versions, now, True)
    return kept


def _kept(
    rule: RetentionRule, versions: Sequence[Candidate], now: datetime, expired: bool
) -> dict[int, tuple[str, ...]]:
    kept = {
        version.number: [version.held] if version.held else [f"tag {tag}" for tag in version.tags]
        for version in versions
    }
    if not expired:
        judged = sorted((version for version in versions if not version.held), key=_number, reverse=True)
        for reason, numbers in _keeping(rule, judged, now):
            for number in numbers:
                kept[number].append(reason)
    below = False
    for version in sorted(versions, key=_number):
        if below and version.removal and not version.held:
            kept[version.number].append("removes what is kept")
        below = below or bool(kept[version.number])
    return {number: tuple(reasons) for number, reasons in kept.items()}


def _keeping(rule: RetentionRule, versions: Sequence[Candidate], now: datetime) -> Iterable[tuple[str, Iterable[int]]]:
    """What each setting keeps of *versions*, which are sorted from the newest on."""
    if rule.keep_all:
        yield "all", [one.number for one in versions]
    contents = [one for one in versions if not one.removal]
    if rule.keep_newest and contents:
        yield "newest", [contents[0].number]
    if rule.keep_last is not None:
        yield "last", [one.number for one in contents[: rule.keep_last]]
    if rule.keep_within is not None:
        since = now - rule.keep_within
        yield "within", [one.number for one in contents if max(one.stored, one.time or one.stored) >= since]
    for period, of in PERIODS.items():
        count = getattr(rule, f"keep_{period}")
        if count is not None:
            newest: dict[tuple[int, ...], int] = {}
            for one in contents:
                if one.time is not None:
                    newest.setdefault(of(one.time.astimezone(UTC)), one.number)
            yield period, [newest[which] for which in sorted(newest, reverse=True)[:count]]


def _is_expired(rule: RetentionRule, versions: Sequence[Candidate], now: datetime) -> bool:
    """Whether the newest of *versions* is a removal that was stored longer ago than the rule allows."""
    if rule.expire_removed is None or not versions:
        return False
    newest = max(versions, key=_number)
    return newest.removal and not newest.held and now - newest.stored > rule.expire_removed


def _number(version: Candidate) -> int:
    return version.number


# ---- from plain values


def read_policy(value: object, file: str = "the retention policy", root: str = "$") -> RetentionPolicy:
    """The policy in *value*, which is one already, or a mapping as a YAML file holds it.

    *file* and *root* (where in it the policy stands) are named in errors. A number or truth value may also be text.

    Raises:
        InvalidConfig: it cannot be used; the message says where, and what would be right.
    """
    if isinstance(value, RetentionPolicy):
        return value
    try:
        return _policy(value)
    except InvalidConfig as error:
        raise InvalidConfig(f"{file}: {root}{error.__dict__['setting']}: {error.__dict__['why']}") from None


def _policy(value: object) -> RetentionPolicy:
    if not isinstance(value, Mapping):
        raise _refused("", "should be a mapping with rules, or with Solace's task_retention_days")
    if len(value) == 1 and (section := next(iter(value))) in SECTIONS:
        with _below(f".{section}"):
            return _policy(value[section])
    if _SOLACE.keys() & value.keys():
        return _solace(value)
    _check_keys(value, ("rules",))
    rules = value.get("rules")
    if not isinstance(rules, (list, tuple)) or not rules:
        raise _refused(".rules", "should be a list of at least one rule")
    found = []
    for place, rule in enumerate(rules):
        with _below(f".rules[{place}]"):
            found.append(_rule(rule))
    return RetentionPolicy(rules=tuple(found))


def _rule(value: object) -> RetentionRule:
    if isinstance(value, RetentionRule):
        return value
    if not isinstance(value, Mapping):
        raise _refused("", "should be a mapping, such as {name: '*.log', keep_last: 5}")
    _check_keys(value, RetentionRule.__struct_fields__)
    return RetentionRule(**{name: _plain(name, one) for name, one in value.items()})


@contextmanager
def _below(place: str) -> Iterator[None]:
    """Within the block errors are told to be at *place*."""
    try:
        yield
    except InvalidConfig as error:
        raise _refused(place + error.__dict__["setting"], error.__dict__["why"]) from None


def _refused(place: str, why: str) -> InvalidConfig:
    """The error for the setting at *place*, a path such as ``.rules[0].keep_last``."""
    return InvalidConfig(f"{place.lstrip('.') or 'a retention rule'}: {why}", setting=place, why=why)


def _check_keys(value: Mapping[Any, Any], known: Sequence[str]) -> None:
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            meant = f"did you mean {near[0]!r}? " if near else ""
            raise _refused(f".{key}", f"is no setting; {meant}{'There' if near else 'there'} are {', '.join(known)}")


def _plain(name: str, value: object) -> Any:
    """*value* of a setting, which text may stand for: a duration always, others where a variable was filled in."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if name in _DURATIONS:
        match = _DURATION.fullmatch(text)
        if match is not None:
            weeks, days, hours = (int(one or 0) for one in match.groups())
            return timedelta(days=min(days + 7 * weeks + hours // 24, 10**8), hours=hours % 24)
    elif name not in _PATTERNS:
        if re.fullmatch(r"\d{1,9}", text):
            return int(text)
        return {"true": True, "false": False}.get(text.lower(), value)
    return value


def _wrong(field: str, value: object) -> str:
    """What is wrong with a *value* that is not None; empty where nothing is."""
    shown = f"{value!r:.60}"
    if field in _PATTERNS:
        return "" if isinstance(value, str) and value else f"{shown} should be a pattern, as text that is not empty"
    if field in _COUNTS:
        return "" if type(value) is int and value >= 1 else f"{shown} should be a whole number, 1 or more"
    if field in _DURATIONS:
        if isinstance(value, timedelta) and timedelta(0) < value <= LONGEST:
            return ""
        return (
            f"{value if isinstance(value, timedelta) else shown} should be a duration of up to 100 years: 12h, 30d, 2w"
        )
    return "" if isinstance(value, bool) else f"{shown} should be true or false"


# ---- Solace's form


_SOLACE: dict[str, str] = {
    "enabled": "true or false",
    "task_retention_days": "a whole number of days, 1 or more",
    "cleanup_interval_hours": "a whole number of hours, 1 or more",
    "cleanup_tasks": "true or false",
    "cleanup_feedback": "",
    "cleanup_sse_events": "",
    "feedback_retention_days": "",
    "sse_event_retention_days": "",
    "conversion_cache_retention_hours": "",
    "batch_size": "",
}
"""The settings of its ``data_retention``; those without a text are about what this store does not hold, and not read."""

_SOLACE_DAYS, _SOLACE_HOURS = 90, 24
"""What Solace Agent Mesh takes where nothing is said."""


def _solace(value: Mapping[Any, Any]) -> RetentionPolicy:
    """Versions are kept for so many days; what was removed goes after as many."""
    _check_keys(value, tuple(_SOLACE))
    given = {name: _plain(name, one) for name, one in value.items() if _SOLACE[name] and one is not None}
    for name, one in given.items():
        number = type(one) is int and 1 <= one <= LONGEST.days
        if not (number if _SOLACE[name].startswith("a ") else isinstance(one, bool)):
            raise _refused(f".{name}", f"{one!r:.60} should be {_SOLACE[name]}")
    kept = timedelta(days=given.get("task_retention_days", _SOLACE_DAYS))
    every = timedelta(hours=given.get("cleanup_interval_hours", _SOLACE_HOURS))
    if not (given.get("enabled", True) and given.get("cleanup_tasks", True)):
        return RetentionPolicy(rules=(), every=every)
    return RetentionPolicy(rules=(RetentionRule(keep_within=kept, expire_removed=kept),), every=every)
