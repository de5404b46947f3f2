"""Calls a Python function that the operator allows.

    [executors.python]
    allow = ["math:sqrt", "mypackage.jobs:resize"]

A task names the function by its option `function`. The payload is a msgpack map that may have
"args", a list, and "kwargs", a map; an empty payload calls it without arguments. The result is the
returned value, as msgpack. What is not on the list, letter for letter, is never imported.
"""

from __future__ import annotations

import functools
import pkgutil
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgpack

from masterworker import Register, TaskContext, hookimpl

_REFERENCE = re.compile(r"[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*(\.\w+)*\Z")

# A few bytes can claim to be a long list, and lists can hold lists: msgpack goes no deeper than
# 1,024, and these keep what it sets aside for each level small. Extension types are not plain data.
_BOUNDS = {"max_array_len": 100_000, "max_map_len": 100_000, "max_ext_len": 0}


def configure(raw: Mapping[str, Any]) -> frozenset[str]:
    """The functions of the list `allow`; none unless the operator names them."""
    unknown = sorted(raw.keys() - {"allow"})
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}; the only one is the list 'allow'")
    allow = raw.get("allow", [])
    if not isinstance(allow, list):
        raise ValueError(f"allow is {allow!r}, expected a list of 'module:function'")
    for reference in allow:
        if not isinstance(reference, str) or not _REFERENCE.match(reference):
            raise ValueError(f"allow has {reference!r}, expected 'module:function'")
    return frozenset(allow)


def call(payload: bytes, task: TaskContext) -> bytes:
    """Call the function the task names with the arguments in the payload."""
    reference = task.options.get("function", "")
    if reference not in task.config:
        allowed = ", ".join(sorted(task.config)) or "none: the worker's allow-list is empty"
        raise PermissionError(
            f"function {reference!r:.200}, the task's option 'function', is not allowed; "
            f"allowed: {allowed}"
        )
    args, kwargs = arguments(payload)
    value = resolve(reference)(*args, **kwargs)
    try:
        result: bytes = msgpack.packb(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(
            f"{reference} returned a {type(value).__name__} that msgpack cannot hold ({error}): "
            "allow a function that returns plain data"
        ) from error
    return result


def arguments(payload: bytes) -> tuple[list[Any], dict[str, Any]]:
    """The arguments in a payload. Raises ValueError if it holds anything else."""
    if not payload:
        return [], {}
    try:
        call = msgpack.unpackb(payload, **_BOUNDS)
    except ValueError as error:
        raise ValueError(f"the payload is not msgpack: {error!r}") from error
    if not isinstance(call, dict) or not call.keys() <= {"args", "kwargs"}:
        raise ValueError("the payload is no msgpack map of 'args' and 'kwargs'")
    args, kwargs = call.get("args", []), call.get("kwargs", {})
    if not isinstance(args, list):
        raise ValueError(f"args is a {type(args).__name__}, expected a list")
    if not isinstance(kwargs, dict) or not all(isinstance(key, str) for key in kwargs):
        raise ValueError("kwargs is no map with text keys")
    return args, kwargs


@functools.cache
def resolve(reference: str) -> Callable[..., Any]:
    """The function behind an allowed `module:function`, imported when it is first called."""
    function = pkgutil.resolve_name(reference)
    if not callable(function):
        raise TypeError(f"{reference} is a {type(function).__name__}, not a function")
    return function  # type: ignore[no-any-return]


@hookimpl
def masterworker_register_executors(register: Register) -> None:
    """Bring `python`."""
    register("python", call, config=configure)
