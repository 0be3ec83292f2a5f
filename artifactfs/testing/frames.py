"""Whether two suspended generators would go on alike, told by a value: what they hold, and where they stand.

The simulator runs a protocol generator with every possible history of answers. Most histories are soon forgotten: once
a page has become a number, it matters no longer how many keys it had. So generators in equal states are one.
"""

from __future__ import annotations

import dis
import gc
import types
from collections.abc import Generator, Hashable
from datetime import datetime, timedelta, timezone
from enum import Enum
from functools import cache
from typing import Any

_ATOMS = (
    str,
    bytes,
    types.NoneType,
    type,
    types.CodeType,
    types.ModuleType,
    types.BuiltinFunctionType,
    datetime,
    timedelta,
    timezone,
)
_NUMBERS = (int, float, bool)
_ITERATORS: tuple[type, ...] = tuple(
    map(type, (iter(()), iter([]), reversed([]), iter(range(1)), enumerate(()), zip(()), iter({}.items())))
)


class Unknown(Exception):
    """A generator holds something that has no value; it is equal to no other then."""


def snapshot(generator: Generator[Any, Any, Any]) -> Hashable:
    """A value that two suspended generators share only if they would answer alike to whatever is sent to them.

    Covers local variables that are still to be read, the evaluation stack (which holds the iterators of loops), and all
    generators that it waits for. Which mutable objects are the same one is part of the value.

    Raises:
        Unknown: it holds an object whose state cannot be told.
    """
    return _frozen(generator, {})


def _frozen(value: Any, seen: dict[int, tuple[int, Any]]) -> Hashable:
    kind = type(value)
    if kind in _ATOMS:
        return value  # type: ignore[no-any-return]
    if kind in _NUMBERS:
        return kind, value
    if isinstance(value, tuple):
        return kind, tuple(_frozen(item, seen) for item in value)
    if kind is frozenset:
        return kind, frozenset(_frozen(item, seen) for item in value)
    if id(value) in seen:
        return "again", seen[id(value)][0]
    seen[id(value)] = len(seen), value  # kept, so that no later object gets its id
    if kind is list:
        return kind, tuple(_frozen(item, seen) for item in value)
    if kind is dict or kind is types.MappingProxyType:
        return kind, tuple((_frozen(key, seen), _frozen(item, seen)) for key, item in value.items())
    if kind is set:
        return kind, frozenset(_frozen(item, seen) for item in value)
    if kind is types.GeneratorType:
        return _generator(value, seen)
    if kind is types.CellType:
        return kind, _frozen(value.cell_contents, seen) if _is_set(value) else None
    if kind is types.FunctionType:
        inside = value.__closure__, value.__defaults__, value.__kwdefaults__
        return value if inside[0] is None else (value.__code__, _frozen(inside, seen))
    if kind is types.MethodType:
        return kind, value.__func__, _frozen(value.__self__, seen)
    if isinstance(value, (Enum, type)):
        return value
    if kind in _ITERATORS:
        return kind, _frozen(value.__reduce__(), seen)
    if isinstance(value, BaseException):
        return kind, _frozen(value.args, seen), _frozen(value.__dict__, seen)
    return kind, _fields(value, seen)


def _fields(value: Any, seen: dict[int, tuple[int, Any]]) -> Hashable:
    names = _names(type(value))  # type: ignore[arg-type]
    state = getattr(value, "__dict__", None)
    if not names and state is None and type(value) is not object:
        raise Unknown(type(value))
    slotted = tuple((name, _frozen(getattr(value, name), seen)) for name in names if hasattr(value, name))
    return slotted, None if state is None else _frozen(state, seen)


@cache
def _names(kind: Any) -> tuple[str, ...]:
    """The slots of a class, and the fields of a struct."""
    names: dict[str, None] = {}
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        names.update(dict.fromkeys([slots] if isinstance(slots, str) else slots))
    return tuple(names | dict.fromkeys(getattr(kind, "__struct_fields__", ())))


def _is_set(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def _generator(generator: Generator[Any, Any, Any], seen: dict[int, tuple[int, Any]]) -> Hashable:
    frame, code = generator.gi_frame, generator.gi_code  # type: ignore[attr-defined]
    if frame is None:
        return "ended", code
    if generator.gi_running:  # type: ignore[attr-defined]
        raise Unknown(generator)
    named = dict(frame.f_locals)
    shown = frame.f_locals
    held = [
        one
        for one in gc.get_referents(generator)
        if one is not shown and type(one) is not types.FrameType and one is not code
    ]
    live = _live(code).get(frame.f_lasti)
    # The referents are the function's name (twice), the function, the variables that are set, and the stack.
    while held and type(held[0]) is str:
        held.pop(0)
    if held and type(held[0]) is types.FunctionType and held[0].__code__ is code:
        held.pop(0)
    plain = [name for name in code.co_varnames if name in named and name not in code.co_cellvars]
    for name, one in zip(plain, held, strict=False):
        if named[name] is not one:
            raise Unknown(generator)
    rest = held[len(plain) :]
    variables = tuple((name, _frozen(named[name], seen)) for name in plain if live is None or name in live)
    return code, frame.f_lasti, variables, tuple(_frozen(one, seen) for one in rest)


@cache
def _live(code: types.CodeType) -> dict[int, frozenset[str]]:
    """For each offset of an instruction at which a generator may stand, the variables that may still be read after it."""
    steps = list(dis.get_instructions(code))
    place = {step.offset: index for index, step in enumerate(steps)}
    handlers: list[tuple[int, int, int]] = [
        (entry.start, entry.end, entry.target)
        for entry in dis._parse_exception_table(code)  # type: ignore[attr-defined]
    ]
    follow: list[list[int]] = []
    for index, step in enumerate(steps):
        after = []
        ends = step.opname.startswith(("RETURN_", "RAISE_VARARGS", "RERAISE", "JUMP_FORWARD", "JUMP_BACKWARD"))
        if (not ends or step.opname == "RETURN_GENERATOR") and index + 1 < len(steps):
            after.append(index + 1)
        if step.opcode in dis.hasjrel or step.opcode in dis.hasjabs:
            after.append(place[step.argval])
        after += [place[target] for start, end, target in handlers if start <= step.offset < end]
        follow.append(after)
    before: list[frozenset[str]] = [frozenset()] * len(steps)
    changed = True
    while changed:
        changed = False
        for index in range(len(steps) - 1, -1, -1):
            step = steps[index]
            needed = frozenset[str]().union(*(before[one] for one in follow[index]))
            names = step.argval if isinstance(step.argval, tuple) else (step.argval,)
            match step.opname:
                case "STORE_FAST":
                    needed = needed - {step.argval}
                case "STORE_FAST_STORE_FAST":
                    needed = needed - set(names)
                case "STORE_FAST_LOAD_FAST":
                    needed = (needed | {names[1]}) - {names[0]}
                case opname if "FAST" in opname and opname != "STORE_FAST_MAYBE_NULL":
                    needed = needed | {name for name in names if isinstance(name, str)}
            if needed != before[index]:
                before[index], changed = needed, True
    return {step.offset: frozenset[str]().union(*(before[one] for one in follow[i])) for i, step in enumerate(steps)}
