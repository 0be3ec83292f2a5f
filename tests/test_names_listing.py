"""The names of a scope: complete, sorted, lazily read, one listing for a thousand."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from artifactfs import ArtifactStore, Scope
from artifactfs.backends.memory import MemoryBackend
from artifactfs.drivers import perform
from artifactfs.names import encode
from artifactfs.protocol import names as protocol_names
from artifactfs.protocol.ops import Create
from artifactfs.testing.counting import Counting, store_over

PLAIN = ["a", "a.csv", "a-b", "a b", "a/b", "a/b/c", "a.b.c", "a!", "a0", "aa", "A", "b", "0", "7.metadata", "!7", "~"]
ODD = [".a", "@a", "@hidden", "..", "a.", "a ", "%61", "a%2Fb", "con", "con.x", "user", "users", "é", "e\u0301", "日本"]
names = st.sampled_from([*PLAIN, *ODD, "\U0001f600", "\uffef", "a\U0001f600", "a\uffef"]) | st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=4
).filter(lambda name: not name.startswith("user:"))
prefixes = (
    st.just("") | st.sampled_from(["a", "a.", "a/", "u", "user", "user:", "user:a", "c", ".", "@", "é", "zz"]) | names
)


def _order(name: str) -> bytes:
    """By the segment that a name is stored as; those of the user's scope as one folder that is called ``user:``."""
    if name.startswith("user:") and name != "user:":
        return (encode("user:") + encode(name[5:])).encode()
    return encode(name).encode()


def _fresh(page_size: int = 1000) -> tuple[ArtifactStore, Counting]:
    backend = Counting(MemoryBackend(f"memory://{uuid.uuid4().hex}", page_size=page_size))
    return store_over(backend, ArtifactStore), backend


def _fill(backend: Counting, folder: str, segments: list[str]) -> None:
    for segment in segments:
        for key in (f"{folder}/{segment}/0.metadata", f"{folder}/{segment}/0"):
            perform((Create(key, b"x", "application/octet-stream"),), backend.inner, None)


class Model:
    """A session and its user's scope, with the names that are to be shown."""

    def __init__(self, page_size: int) -> None:
        self.store, self.backend = _fresh(page_size)
        self.session = self.store.scope("shop", "alice", "s1")
        self.user = self.store.scope("shop", "alice")
        self.shown: dict[bool, set[str]] = {True: set(), False: set()}

    def scope(self, of_user: bool) -> Scope:
        return self.user if of_user else self.session

    def act(self, of_user: bool, name: str, what: str) -> None:
        scope, shown = self.scope(of_user), self.shown[of_user]
        if what == "save":
            scope.save(name, b"x")
            shown.add(name)
        elif name in shown:
            if what == "remove":
                scope.remove(name)
                shown.remove(name)
            elif what == "delete":
                scope.delete(name)
                shown.remove(name)
            elif what == "delete the newest":
                older = scope.versions(name)[:-1]
                scope.delete(name, -1)
                newest = max((record.version for record in scope.history(name)), default=None)
                if newest is None or newest not in older:
                    shown.remove(name)

    def all(self) -> list[str]:
        return sorted(self.shown[False] | {f"user:{name}" for name in self.shown[True]}, key=_order)


actions = st.lists(
    st.tuples(st.booleans(), names, st.sampled_from(["save", "save", "save", "remove", "delete", "delete the newest"])),
    max_size=25,
)


@given(actions, st.sampled_from([1, 3, 1000]), st.lists(st.tuples(prefixes, names | st.none()), max_size=4), st.data())
@settings(max_examples=2 * settings().max_examples)
@example([(False, name, "save") for name in PLAIN], 1, [("a", "a.csv"), ("a/", None), ("", "a")], None)
@example([(True, name, "save") for name in PLAIN], 3, [("user:a", None), ("user:a.", "user:a"), ("us", None)], None)
@example([(False, "a", "save"), (False, "a", "remove"), (False, "a", "save")], 3, [], None)
def test_names_are_those_whose_newest_version_is_there(
    done: list[tuple[bool, str, str]],
    page_size: int,
    asked: list[tuple[str, str | None]],
    data: st.DataObject | None,
) -> None:
    model = Model(page_size)
    for action in done:
        model.act(*action)
    everything = model.all()
    assert list(model.session.names()) == everything
    assert list(model.user.names()) == sorted(model.shown[True], key=_order)
    for place, name in enumerate(everything):
        assert list(model.session.names(after=name)) == everything[place + 1 :]
    for prefix, after in asked:
        expected = [
            name for name in everything if name.startswith(prefix) and (after is None or _order(name) > _order(after))
        ]
        assert list(model.session.names(prefix, after=after)) == expected
    if data is not None and everything:
        size = data.draw(st.integers(1, 5))
        assert list(_paged(model.session, size)) == everything


def _paged(scope: Scope, size: int) -> Iterator[str]:
    after = None
    while some := list(itertools.islice(scope.names(after=after), size)):
        yield from some
        after = some[-1]


def test_the_suite_would_see_an_order_that_is_the_listings_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: a listing brings ``a.csv/`` before ``a/``."""
    monkeypatch.setattr(protocol_names._InOrder, "_beginnings", lambda *_: [])
    with pytest.raises(AssertionError):
        test_names_are_those_whose_newest_version_is_there.hypothesis.inner_test(  # type: ignore[attr-defined]
            [(False, name, "save") for name in PLAIN], 1, [], None
        )


def test_the_suite_would_see_a_mark_that_is_trusted_without_a_look_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: a mark alone hides nothing; the name was saved again, by a saver that did not clear it."""

    def trusting(*_: object) -> Iterator[object]:
        return False
        yield

    model = Model(1000)
    for version in range(2):
        model.session.save("a", b"%d" % version)
    model.session.delete("a", 1)
    assert list(model.session.names()) == ["a"]
    monkeypatch.setattr(protocol_names, "is_visible", trusting)
    assert list(model.session.names()) == []


# what a listing costs


def test_fifty_artifacts_of_a_hundred_versions_are_one_listing_and_one_of_the_users_scope() -> None:
    store, backend = _fresh()
    scope = store.scope("shop", "alice", "s1")
    for number in range(50):
        name = f"report-{number:02}"
        for version in range(100):
            for key in (f"shop/alice/s1/{name}/{version}.metadata", f"shop/alice/s1/{name}/{version}"):
                perform((Create(key, b"x", "text/plain"),), backend.inner, None)
    assert len(list(scope.names())) == 50
    assert [tuple(call) for call in backend.taken()] == [("list", "shop/alice/s1/"), ("list", "shop/alice/user/")]


def test_the_first_name_costs_one_page_of_each_scope() -> None:
    store, backend = _fresh()
    _fill(backend, "shop/alice/s1", [f"name{number:04}" for number in range(2500)])
    _fill(backend, "shop/alice/user", [f"name{number:04}" for number in range(2500)])
    names = store.scope("shop", "alice", "s1").names()
    assert backend.taken() == []
    assert next(names) == "name0000"
    assert [call.key for call in backend.taken()] == ["shop/alice/s1/", "shop/alice/user/"]
    assert len(list(itertools.islice(names, 999))) == 999
    assert len(backend.taken()) <= 1
    assert len(list(names)) == 4000
    assert len(backend.taken()) <= 5


def test_a_prefix_and_a_place_to_go_on_from_cost_one_page() -> None:
    store, backend = _fresh()
    _fill(backend, "shop/alice/s1", [f"{letter}-{number:04}" for letter in "abcdef" for number in range(1500)])
    scope = store.scope("shop", "alice", "s1")
    assert len(list(scope.names("d-00"))) == 100
    assert len(backend.taken()) <= 2
    assert list(itertools.islice(scope.names(after="e-0999"), 2)) == ["e-1000", "e-1001"]
    assert len(backend.taken()) <= 3
    assert list(scope.names("user:")) == []
    assert len(backend.taken()) <= 4


@pytest.mark.parametrize("beginning", ["name-", "img.", "a b ", "reports/", "v1.2-"])
def test_names_that_share_a_beginning_are_read_lazily_too(beginning: str) -> None:
    store, backend = _fresh()
    _fill(backend, "shop/alice/s1", [encode(f"{beginning}{number:04}") for number in range(4500)])
    names = store.scope("shop", "alice", "s1").names()
    assert list(itertools.islice(names, 3)) == [f"{beginning}{number:04}" for number in range(3)]
    assert len(backend.taken()) <= 5
    assert len(list(names)) == 4497


def test_hidden_names_cost_a_look_inside_each_or_one_full_listing_for_many() -> None:
    for hidden, most in ((5, 2 + 1 + 3 * 5), (200, 10)):
        store, backend = _fresh()
        scope = store.scope("shop", "alice", "s1")
        for number in range(hidden):
            scope.save(f"hidden-{number:03}", b"x")
            scope.remove(f"hidden-{number:03}")
        _fill(backend, "shop/alice/s1", [f"shown-{number:03}" for number in range(100)])
        backend.taken()
        assert list(scope.names()) == [f"shown-{number:03}" for number in range(100)]
        assert sum(call.method == "list" for call in backend.taken()) <= most


# apps, users, sessions


@given(st.sets(names, min_size=1, max_size=12), st.sampled_from([1, 3, 1000]))
@example({"user", "users", "User", "@store", "a", "a.csv"}, 3)
def test_apps_users_and_sessions_are_those_that_something_was_saved_in(called: set[str], page_size: int) -> None:
    store, _ = _fresh(page_size)
    for name in called:
        for app, user, session in ((name, "u", "s"), ("a-pp", name, "s"), ("a-pp", "us-er", name)):
            store.scope(app, user, session).save("x", b"x")
    store.scope("a-pp", "us-er").save("x", b"x")
    assert list(store.apps()) == sorted({*called, "a-pp"}, key=lambda one: encode(one, "app").encode())
    assert list(store.users("a-pp")) == sorted({*called, "us-er"}, key=lambda one: encode(one, "user").encode())
    assert list(store.sessions("a-pp", "us-er")) == sorted(called, key=lambda one: encode(one, "session").encode())


def test_apps_users_and_sessions_are_read_lazily() -> None:
    store, backend = _fresh(10)
    _fill(backend, "shop/alice", [f"s{number:03}/name" for number in range(95)])
    sessions = store.sessions("shop", "alice")
    assert backend.taken() == []
    assert next(sessions) == "s000"
    assert len(backend.taken()) == 1
    assert len(list(sessions)) == 94
    assert len(backend.taken()) == 9
