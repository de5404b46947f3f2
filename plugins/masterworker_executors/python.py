"""Calls a Python function from the operator's allow-list.

    [executors.python]
    path = ["/srv/jobs"]
    allow = ["math:sqrt", "mypackage.jobs:resize"]

A task selects the function with its option `function`. The payload is a msgpack map that may have
"args", a list, and "kwargs", a map; an empty payload calls the function without arguments. The
result is the returned value, as msgpack. Only names exactly as listed are ever imported. They are
imported when the process starts, so that mistakes are found before the first task.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgpack

from masterworker import AttemptFailed, Register, TaskContext, hookimpl

_REFERENCE = re.compile(r"[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*(\.\w+)*\Z")

# A few bytes can announce a long list, and lists can be nested. msgpack limits the depth to 1,024;
# these limits keep the memory reserved for each level small. Extension types are not plain data.
_BOUNDS = {"max_array_len": 100_000, "max_map_len": 100_000, "max_ext_len": 0}


Allowed = Mapping[str, Callable[..., Any]]
"""The allowed functions, by the name used in the operator's list and in tasks."""


def configure(raw: Mapping[str, Any]) -> Allowed:
    """Import the functions of the list `allow`; empty by default.

    The folders of the list `path` are searched for their modules after Python's own.
    """
    unknown = sorted(raw.keys() - {"allow", "path"})
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}; the only ones are 'allow' and 'path'")
    for folder in _texts(raw, "path", "an absolute folder"):
        if not Path(folder).is_absolute() or not Path(folder).is_dir():
            raise ValueError(f"path has {folder!r}, which is not an absolute folder that exists")
        if folder not in sys.path:
            sys.path.append(folder)
    allow = _texts(raw, "allow", "'module:function'")
    for reference in allow:
        if not _REFERENCE.match(reference):
            raise ValueError(f"allow has {reference!r}, expected 'module:function'")
    return {reference: resolve(reference) for reference in allow}


def _texts(raw: Mapping[str, Any], key: str, what: str) -> list[str]:
    texts = raw.get(key, [])
    if not isinstance(texts, list):
        raise ValueError(f"{key} is {texts!r}, expected a list of {what}")
    for text in texts:
        if not isinstance(text, str):
            raise ValueError(f"{key} has {text!r}, expected {what}")
    return texts


def resolve(reference: str) -> Callable[..., Any]:
    """The function named by `module:function`. Raises ValueError if it does not exist."""
    module, _, name = reference.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except BaseException as error:  # a module may raise anything, SystemExit included
        searched = ", ".join(sys.path)
        where = f" (searched: {searched})" if isinstance(error, ModuleNotFoundError) else ""
        raise ValueError(
            f"allow has {reference!r}, and {module!r} cannot be imported: "
            f"{type(error).__name__}: {error}{where}. Install it into this environment, or add its "
            "folder: path = ['/the/folder']"
        ) from error
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise ValueError(f"allow has {reference!r}, but {error}") from error
    if not callable(found):
        raise ValueError(
            f"allow has {reference!r}, which is a {type(found).__name__}, not a function"
        )
    return found  # type: ignore[no-any-return]


def call(payload: bytes, task: TaskContext) -> bytes:
    """Call the task's function with the arguments in the payload.

    Raises AttemptFailed, and any exception that the function raises.
    """
    __tracebackhide__ = True  # a traceback should show only the function's own frames
    reference = task.options.get("function", "")
    function = task.config.get(reference)
    if function is None:
        allowed = ", ".join(sorted(task.config)) or "none (the worker's allow-list is empty)"
        raise AttemptFailed(
            f"function {reference!r:.200} (the task's option 'function') is not allowed; "
            f"allowed: {allowed}"
        )
    args, kwargs = arguments(payload)
    value = function(*args, **kwargs)
    try:
        result: bytes = msgpack.packb(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise AttemptFailed(
            f"{reference} returned a {type(value).__name__}, which msgpack cannot serialize "
            f"({error}): allow a function that returns plain data"
        ) from error
    return result


def arguments(payload: bytes) -> tuple[list[Any], dict[str, Any]]:
    """The arguments in a payload. Raises AttemptFailed if it holds anything else."""
    if not payload:
        return [], {}
    try:
        call = msgpack.unpackb(payload, **_BOUNDS)
    except ValueError as error:
        raise AttemptFailed(f"the payload is not msgpack: {error!r}") from error
    if not isinstance(call, dict) or not call.keys() <= {"args", "kwargs"}:
        raise AttemptFailed("the payload is not a msgpack map of 'args' and 'kwargs'")
    args, kwargs = call.get("args", []), call.get("kwargs", {})
    if not isinstance(args, list):
        raise AttemptFailed(f"args is a {type(args).__name__}, expected a list")
    if not isinstance(kwargs, dict) or not all(isinstance(key, str) for key in kwargs):
        raise AttemptFailed("kwargs is not a map with text keys")
    return args, kwargs


@hookimpl
def masterworker_register_executors(register: Register) -> None:
    """Register `python`."""
    register("python", call, config=configure)
