"""What a retention policy keeps: by an oracle of a few lines, by example, and as it is read from files."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from textwrap import indent
from typing import Any

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from artifactfs import ArtifactStore, RetentionPolicy, RetentionRule
from artifactfs import retention as module
from artifactfs.config import load, load_policy
from artifactfs.errors import InvalidConfig
from artifactfs.retention import Candidate, decide, read_policy

from .simulations.faults import planted

NOW = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)


def day(days: float) -> datetime:
    return NOW - timedelta(days=days)


def saved(*ages: float, removals: Sequence[int] = (), **more: dict[int, Any]) -> list[Candidate]:
    """Versions from 0 on, of so many days each; *more* sets other fields by number."""
    return [
        Candidate(number, day(age), day(age), number in removals)._replace(
            **{field: values[number] for field, values in more.items() if number in values}
        )
        for number, age in enumerate(ages)
    ]


def kept(rule: RetentionRule, versions: Sequence[Candidate], now: datetime = NOW) -> list[int]:
    return [number for number, reasons in decide(rule, versions, now).items() if reasons]


# --- by an oracle that shares no code with it -------------------------------------------------------------------------


def oracle(rule: RetentionRule, versions: Sequence[Candidate], now: datetime) -> set[int]:
    """As the documents define it, version by version, however slowly."""
    result = oracle_of(rule, versions, now, is_expired(rule, versions, now))
    if is_expired(rule, [one for one in versions if one.number in result], now):
        result = oracle_of(rule, versions, now, True)
    return result


def is_expired(rule: RetentionRule, versions: Sequence[Candidate], now: datetime) -> bool:
    top = max(versions, key=lambda one: one.number, default=None)
    span = rule.expire_removed
    return span is not None and top is not None and top.removal and not top.held and top.stored + span < now


def oracle_of(rule: RetentionRule, versions: Sequence[Candidate], now: datetime, expired: bool) -> set[int]:
    seconds = {
        "keep_hourly": lambda at: int(at.timestamp() // 3600),
        "keep_daily": lambda at: int(at.timestamp() // 86400),
        "keep_weekly": lambda at: int((at.timestamp() // 86400 + 3) // 7),  # 1970 began on a Thursday
        "keep_monthly": lambda at: at.astimezone(UTC).year * 12 + at.astimezone(UTC).month,
    }
    result: set[int] = set()
    for one in sorted(versions, key=lambda one: one.number):
        newer = [other for other in versions if other.number > one.number and not other.removal and not other.held]
        wanted = bool(one.held or one.tags)
        if not one.held and not expired:
            wanted = wanted or rule.keep_all
            if not one.removal:
                wanted = wanted or (rule.keep_newest and not newer)
                wanted = wanted or (rule.keep_last is not None and len(newer) < rule.keep_last)
                within = rule.keep_within
                wanted = wanted or (
                    within is not None
                    and (one.stored + within >= now or (one.time is not None and one.time + within >= now))
                )
                for field, period in seconds.items():
                    count = getattr(rule, field)
                    if count is not None and one.time is not None:
                        others = {period(other.time) for other in newer if other.time is not None}
                        of_all = {
                            period(other.time)
                            for other in versions
                            if not other.removal and not other.held and other.time is not None
                        }
                        later = {which for which in of_all if which > period(one.time)}
                        wanted = wanted or (period(one.time) not in others and len(later) < count)
        if one.removal and not one.held and result:
            wanted = True
        if wanted:
            result.add(one.number)
    return result


counts = st.none() | st.integers(1, 4)
spans = st.none() | st.integers(1, 24 * 60).map(lambda hours: timedelta(hours=hours))
times = st.integers(0, 90 * 24 * 4).map(lambda quarters: NOW - timedelta(minutes=15 * quarters))


@st.composite
def rules(draw: st.DrawFn) -> RetentionRule:
    newest, expire = draw(st.booleans()), draw(spans)
    fields = {f"keep_{name}": draw(counts) for name in ("last", "hourly", "daily", "weekly", "monthly")}
    within = draw(spans)
    if not any(value is not None for value in fields.values()) and within is None:
        return RetentionRule(keep_all=True, keep_newest=newest, expire_removed=expire)
    return RetentionRule(keep_within=within, keep_newest=newest, expire_removed=expire, **fields)


@st.composite
def histories(draw: st.DrawFn) -> list[Candidate]:
    """Versions whose clocks are mostly, and not always, right."""
    numbers = sorted(draw(st.sets(st.integers(0, 40), max_size=14)))
    orderly = draw(st.booleans())
    stamps = draw(st.lists(times, min_size=len(numbers), max_size=len(numbers)))
    return [
        Candidate(
            number,
            stored=draw(st.just(stamp) | times),
            time=draw(st.sampled_from([stamp, stamp, stamp, stamp.astimezone(timezone(timedelta(hours=5))), None])),
            removal=draw(st.sampled_from([False, False, False, True])),
            tags=draw(st.sampled_from([(), (), (), (), ("prod",)])),
            held=draw(st.sampled_from(["", "", "", "", "its record does not decode"])),
        )
        for number, stamp in zip(numbers, sorted(stamps) if orderly else stamps, strict=True)
    ]


@given(rules(), histories())
def test_what_is_kept_is_what_a_naive_oracle_keeps(rule: RetentionRule, versions: list[Candidate]) -> None:
    assert set(kept(rule, versions)) == oracle(rule, versions, NOW)


@pytest.mark.parametrize(
    ("function", "old", "new"),
    [
        (module._keeping, "contents[: rule.keep_last]", "contents[: rule.keep_last - 1]"),
        (module._keeping, "reverse=True)[:count]", ")[:count]"),
        (module._keeping, "newest.setdefault(of(", "newest.__setitem__(of("),
        (module._keeping, ".astimezone(UTC)", ""),
        (module._keeping, "max(one.stored, one.time or one.stored)", "one.time or one.stored"),
        (module._kept, "if below and version.removal", "if version.removal"),
        (module._is_expired, "newest.removal and", ""),
    ],
)
def test_a_planted_fault_of_the_decision_is_found(function: Callable[..., Any], old: str, new: str) -> None:
    @given(rules(), histories())
    @settings(max_examples=1000, phases=(Phase.generate,))
    def compare(rule: RetentionRule, versions: list[Candidate]) -> None:
        assert set(kept(rule, versions)) == oracle(rule, versions, NOW)

    with planted(function, (old, new)), pytest.raises((AssertionError, BaseExceptionGroup)):
        compare()


@given(rules(), histories())
def test_deciding_again_on_what_was_kept_changes_nothing(rule: RetentionRule, versions: list[Candidate]) -> None:
    """So a prune that was interrupted goes on, and one that is run twice does what one does."""
    first = set(kept(rule, versions))
    assert set(kept(rule, [one for one in versions if one.number in first])) == first
    half = versions[: len(versions) // 2]
    assert set(kept(rule, [one for one in versions if one.number in first or one not in half])) >= first


@given(rules(), histories(), st.booleans())
def test_what_comes_meanwhile_gives_nothing_a_reason_to_stay(
    rule: RetentionRule, versions: list[Candidate], removal: bool
) -> None:
    """So a plan stays right while others save and remove; but for an artifact that was removed and comes back."""
    first = oracle_of(rule, versions, NOW, False)
    if not any(is_expired(rule, some, NOW) for some in (versions, [one for one in versions if one.number in first])):
        assert set(kept(rule, [*versions, Candidate(99, NOW, NOW, removal)])) <= {*kept(rule, versions), 99}


@given(rules(), histories())
def test_what_was_removed_does_not_come_back_into_view(rule: RetentionRule, versions: list[Candidate]) -> None:
    left = kept(rule, versions)
    if versions and versions[-1].removal and left:
        assert left[-1] == versions[-1].number


# --- by example -------------------------------------------------------------------------------------------------------


def test_the_last_ones_are_kept_and_removals_do_not_count() -> None:
    rule = RetentionRule(keep_last=2)
    assert kept(rule, saved(4, 3, 2, 1)) == [2, 3]
    assert kept(rule, saved(4, 3, 2, 1, removals=[2])) == [1, 2, 3]


def test_the_newest_of_each_period_is_kept_by_the_calendar_in_utc() -> None:
    at = [datetime(2026, 10, 31, 23, 59), datetime(2026, 11, 1), datetime(2026, 11, 1, 22), datetime(2026, 11, 2, 1)]
    versions = [Candidate(n, NOW, moment.replace(tzinfo=UTC)) for n, moment in enumerate(at)]
    assert kept(RetentionRule(keep_daily=9), versions) == [0, 2, 3]
    assert kept(RetentionRule(keep_daily=2), versions) == [2, 3]
    assert kept(RetentionRule(keep_monthly=9), versions) == [0, 3]
    assert kept(RetentionRule(keep_weekly=9), versions) == [2, 3]  # the 2nd is a Monday
    assert kept(RetentionRule(keep_hourly=9), versions) == [0, 1, 2, 3]
    elsewhere = [one._replace(time=one.time and one.time.astimezone(timezone(timedelta(hours=-9)))) for one in versions]
    assert kept(RetentionRule(keep_daily=9), elsewhere) == [0, 2, 3]


def test_periods_without_a_version_do_not_count() -> None:
    assert kept(RetentionRule(keep_monthly=2), saved(300, 200, 1)) == [1, 2]


def test_each_setting_says_so_where_it_keeps() -> None:
    rule = RetentionRule(keep_last=2, keep_within=timedelta(days=5), keep_daily=1)
    reasons = decide(rule, saved(9, 6, 1, 0.1, tags={0: ("prod", "stable")}), NOW)
    assert reasons == {
        0: ("tag prod", "tag stable"),
        1: (),
        2: ("last", "within"),
        3: ("newest", "last", "within", "daily"),
    }


def test_the_newest_goes_only_where_that_is_said() -> None:
    week = timedelta(days=7)
    assert kept(RetentionRule(keep_within=week), saved(90, 60, 30)) == [2]
    assert kept(RetentionRule(keep_within=week, keep_newest=False), saved(90, 60, 30)) == []
    assert kept(RetentionRule(keep_within=week), saved(90, 60, 1, removals=[2])) == [1, 2]
    assert kept(RetentionRule(keep_within=week, keep_newest=False), saved(90, 60, 1, removals=[2])) == []


def test_age_is_by_the_store_so_that_a_clock_that_is_behind_loses_nothing() -> None:
    rule = RetentionRule(keep_within=timedelta(days=7), keep_newest=False)
    assert kept(rule, saved(400, 400, stored={1: day(1)})) == [1]
    assert kept(rule, saved(400, 400, time={1: day(1)})) == [1]


def test_a_removed_artifact_expires_as_a_whole_but_for_what_a_tag_names() -> None:
    rule = RetentionRule(keep_last=5, expire_removed=timedelta(days=30))
    assert kept(rule, saved(90, 80, 29, removals=[2])) == [0, 1, 2]
    assert kept(rule, saved(90, 80, 31, removals=[2])) == []
    assert kept(rule, saved(90, 80, 31, removals=[2], tags={0: ("prod",)})) == [0, 2]
    assert kept(rule, saved(90, 80, 31, 1, removals=[2])) == [0, 1, 2, 3]
    everything = RetentionRule(keep_all=True, expire_removed=timedelta(days=30))
    assert kept(everything, saved(90, 31, removals=[1])) == []
    assert kept(everything, saved(90, 29, removals=[1])) == [0, 1]
    briefly = RetentionRule(keep_daily=1, keep_newest=False, expire_removed=timedelta(days=30))
    assert kept(briefly, saved(50, 60, 70, removals=[1])) == []  # the day of 0 would be kept, but for the removal


def test_what_cannot_be_judged_is_kept_and_displaces_nothing() -> None:
    versions = saved(4, 3, 2, 1, held={3: "its record was altered"})
    assert kept(RetentionRule(keep_last=1), versions) == [2, 3]
    assert decide(RetentionRule(keep_last=1), versions, NOW)[3] == ("its record was altered",)


# --- which rule -------------------------------------------------------------------------------------------------------


def ruled(policy: RetentionPolicy, app: str, user: str, session: str | None, name: str) -> str | None:
    found = policy.within(app, lambda pattern: pattern in ("*", user), session)(name)
    return None if found is None else found[0]


def test_the_first_rule_that_fits_decides_and_names_have_slashes() -> None:
    policy = read_policy(
        {
            "rules": [
                {"name": "*.log", "keep_last": 1},
                {"name": "user:logo.[pj]*", "keep_all": True},
                {"session": "*", "app": "shop", "keep_last": 2},
                {"user": "alice", "keep_last": 3},
            ]
        }
    )
    assert ruled(policy, "shop", "alice", "s1", "deep/in/app.log") == "rules[0]"
    assert ruled(policy, "shop", "alice", None, "app.log") == "rules[0]"
    assert ruled(policy, "shop", "alice", None, "logo.png") == "rules[1]"
    assert ruled(policy, "shop", "alice", "s1", "logo.png") == "rules[2]"
    assert ruled(policy, "shop", "alice", None, "x") == "rules[3]"
    assert ruled(policy, "Shop", "bob", "s1", "app.LOG") is None


def test_a_scope_in_which_nothing_can_go_is_known_before_it_is_listed() -> None:
    policy = read_policy({"rules": [{"app": "shop", "keep_last": 1}, {"app": "bank", "keep_all": True}]})
    assert policy.concerns("shop", lambda pattern: True, "s1")
    assert not policy.concerns("bank", lambda pattern: True, "s1")
    assert not policy.concerns("other", lambda pattern: True, None)


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_policy_is_read_from_plain_values_and_from_text_that_variables_filled_in() -> None:
    policy = read_policy(
        {"rules": [{"name": "*.log", "keep_last": "5", "keep_within": "1w 2d12h", "keep_newest": "False"}]}
    )
    assert policy.rules == (
        RetentionRule(name="*.log", keep_last=5, keep_within=timedelta(days=9, hours=12), keep_newest=False),
    )
    assert policy.every is None
    assert read_policy(policy) is policy
    assert read_policy({"rules": [policy.rules[0]]}) == policy
    assert read_policy({"retention": {"rules": policy.rules}}) == policy


@pytest.mark.parametrize(
    ("text", "hours"), [("1h", 1), ("48h", 48), ("30d", 720), ("2w", 336), ("1w1d1h", 193), ("1d 12h", 36)]
)
def test_durations(text: str, hours: int) -> None:
    assert read_policy({"rules": [{"keep_within": text}]}).rules[0].keep_within == timedelta(hours=hours)


WRONG: list[tuple[object, str]] = [
    (None, r"policy: \$: should be a mapping"),
    ([], r"\$: should be a mapping"),
    ({}, r"\$\.rules: should be a list of at least one rule"),
    ({"rules": []}, r"\$\.rules: should be a list"),
    ({"rule": []}, r"\$\.rule: is no setting; did you mean 'rules'"),
    ({"rules": [1]}, r"\$\.rules\[0\]: should be a mapping"),
    ({"rules": [{"keep_all": True}, {}]}, r"\$\.rules\[1\]: should say what is kept"),
    ({"rules": [{"name": "*.log"}]}, r"\$\.rules\[0\]: should say what is kept"),
    ({"rules": [{"keep_newest": False}]}, r"\$\.rules\[0\]: should say what is kept"),
    ({"rules": [{"keep_lats": 3}]}, r"\$\.rules\[0\]\.keep_lats: is no setting; did you mean 'keep_last'"),
    ({"rules": [{"keep_last": 0}]}, r"\.keep_last: 0 should be a whole number, 1 or more"),
    ({"rules": [{"keep_last": True}]}, r"\.keep_last: True should be a whole number"),
    ({"rules": [{"keep_daily": -1}]}, r"\.keep_daily: -1 should be"),
    ({"rules": [{"keep_weekly": 1.5}]}, r"\.keep_weekly: 1.5 should be"),
    ({"rules": [{"keep_monthly": "many"}]}, r"\.keep_monthly: 'many' should be"),
    ({"rules": [{"keep_within": "30"}]}, r"\.keep_within: '30' should be a duration of up to 100 years: 12h, 30d, 2w"),
    ({"rules": [{"keep_within": ""}]}, r"\.keep_within: '' should be a duration"),
    ({"rules": [{"keep_within": 30}]}, r"\.keep_within: 30 should be a duration"),
    ({"rules": [{"keep_within": "0d"}]}, r"\.keep_within: 0:00:00 should be a duration"),
    ({"rules": [{"keep_within": "999999999w"}]}, r"\.keep_within: .* should be a duration of up to 100 years"),
    ({"rules": [{"keep_within": "5m"}]}, r"\.keep_within: '5m' should be a duration"),
    ({"rules": [{"keep_last": 1, "keep_newest": "no"}]}, r"\.keep_newest: 'no' should be true or false"),
    ({"rules": [{"keep_last": 1, "name": ""}]}, r"\.name: '' should be a pattern"),
    ({"rules": [{"keep_last": 1, "app": 5}]}, r"\.app: 5 should be a pattern"),
    ({"rules": [{"keep_all": True, "keep_last": 3}]}, r"\.rules\[0\]\.keep_last: keeps less than keep_all does"),
    ({"data_retention": {"task_retention_days": 0}}, r"\$\.data_retention\.task_retention_days: 0 should be a whole"),
    ({"enabled": "perhaps", "task_retention_days": 3}, r"\$\.enabled: 'perhaps' should be true or false"),
    ({"task_retention_days": 3, "keep_last": 3}, r"\$\.keep_last: is no setting"),
    ({"task_retention_days": True}, r"\.task_retention_days: True should be"),
    ({"cleanup_interval_hours": "often"}, r"\.cleanup_interval_hours: 'often' should be a whole number of hours"),
]


@pytest.mark.parametrize(("value", "message"), WRONG, ids=[message[:60] for _, message in WRONG])
def test_what_makes_no_sense_is_refused_and_the_error_says_where(value: object, message: str) -> None:
    with pytest.raises(InvalidConfig, match=message):
        read_policy(value)


def test_a_rule_that_is_built_in_python_is_checked_too() -> None:
    with pytest.raises(InvalidConfig, match=r"^keep_last: 0 should be a whole number, 1 or more$"):
        RetentionRule(keep_last=0)
    with pytest.raises(InvalidConfig, match=r"^keep_within: '3d' should be a duration"):
        RetentionRule(keep_within="3d")  # type: ignore[arg-type]
    with pytest.raises(InvalidConfig, match="should say what is kept"):
        msgspec.structs.replace(RetentionRule(keep_last=1), keep_last=None)


def test_the_retention_of_solace_agent_mesh_is_read_as_it_is() -> None:
    policy = read_policy(
        {
            "data_retention": {
                "enabled": True,
                "task_retention_days": 45,
                "feedback_retention_days": 10,
                "cleanup_interval_hours": 6,
                "batch_size": 500,
            }
        }
    )
    days = timedelta(days=45)
    assert policy == RetentionPolicy(
        rules=(RetentionRule(keep_within=days, expire_removed=days),), every=timedelta(hours=6)
    )
    assert read_policy({"enabled": True}).rules[0].keep_within == timedelta(days=90)
    for off in ({"enabled": False, "task_retention_days": 1}, {"cleanup_tasks": False, "task_retention_days": "1"}):
        assert read_policy(off) == RetentionPolicy(rules=(), every=timedelta(hours=24))


# --- in files ---------------------------------------------------------------------------------------------------------


RULES = """
rules:
  - name: "*.log"           # in quotes, for YAML has a meaning of its own for a star
    keep_within: ${DAYS:-7}d
  - keep_last: ${COUNT}
    keep_newest: no
"""


def in_file(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "policy.yaml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("under", ["", "retention", "artifact_store.retention"])
def test_a_file_holds_a_policy_by_itself_or_beside_what_else_stands_there(tmp_path: Path, under: str) -> None:
    text = RULES
    for key in filter(None, under.split(".")[::-1]):
        text = f"other: [1]\n{key}:\n{indent(text, '  ')}"
    wanted = (
        RetentionRule(name="*.log", keep_within=timedelta(days=7)),
        RetentionRule(keep_last=5, keep_newest=False),
    )
    assert load_policy(in_file(tmp_path, text), {"COUNT": "5"}).rules == wanted


def test_the_configuration_of_a_store_may_say_what_is_kept_in_it(tmp_path: Path) -> None:
    file = in_file(tmp_path, "type: memory\nmax_bytes: 10\nretention:\n  rules: [{keep_last: 3}]\n")
    config = load(file, {})
    assert config.retention == RetentionPolicy(rules=(RetentionRule(keep_last=3),))
    assert config.options == {"max_bytes": 10}
    assert load_policy(file, {}) == config.retention
    assert load(in_file(tmp_path, "type: memory"), {}).retention is None
    solace = "artifact_store:\n  type: memory\n  data_retention: {enabled: true, task_retention_days: 30}\n"
    policy = load(in_file(tmp_path, solace), {}).retention
    assert policy is not None and policy.rules[0].keep_within == timedelta(days=30)
    assert ArtifactStore.from_config(file).url == "memory://"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules:\n  - keep_last: 0\n", r"policy\.yaml: \$\.rules\[0\]\.keep_last: 0 should be"),
        ("retention: {rules: [{keep: 1}]}", r"policy\.yaml: \$\.retention\.rules\[0\]\.keep: is no setting"),
        ("retention: {}\ndata_retention: {}", r"\$\.data_retention: is given beside retention"),
        ("artifact_store: {type: memory}", r"\$\.artifact_store: says nothing of retention"),
        ("retention: [", "is not YAML"),
        ("", "is empty; should be a mapping with rules"),
        ("rules: [{keep_last: 1, keep_last: 2}]", r"\.keep_last: line 1: is there a second time"),
        ("rules: [{keep_last: '${NONE}'}]", "the environment variable NONE is not set"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidConfig, match=message):
        load_policy(in_file(tmp_path, text), {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type: memory\nretention: 3", r"\$\.retention: '3' should be a mapping with rules"),
        (
            "type: memory\nretention: {rules: [{keep_last: many}]}",
            r"\$\.retention\.rules\[0\]\.keep_last: 'many' should",
        ),
        (
            "type: memory\nretention: {rules: []}\ndata_retention: {enabled: true}",
            r"\$\.data_retention: is given beside",
        ),
    ],
)
def test_what_is_wrong_with_the_retention_of_a_store_is_told_with_its_place(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(InvalidConfig, match=message):
        load(in_file(tmp_path, text), {})


def test_the_table_of_settings_names_each_of_them() -> None:
    text = (Path(__file__).resolve().parent.parent / "docs" / "retention.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall("`([a-z_]+)`", row)]
    assert sorted(named) == sorted(RetentionRule.__struct_fields__)
