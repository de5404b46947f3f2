"""The operator's configuration of executors: `mwctl worker --config FILE`.

The file is TOML, with one table `[executors.NAME]` for each executor. Only the executor knows the
keys of its table: its `config` function checks the table and returns what its tasks see as
`task.config`. The raw tables are plain data, so that a child process can receive them and call the
same function again; its return value need not be serialized.
"""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ..words.errors import BadConfiguration
from ..words.executor import Executor, Offered
from ..words.paths import check_executor

logger = logging.getLogger(__name__)

TIME_LIMIT: Final = "time_limit"
"""The only key of an executor's table that the worker itself reads."""


def load_configuration(path: Path) -> dict[str, dict[str, Any]]:
    """The tables of a configuration file, by executor name. Raises BadConfiguration."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadConfiguration(f"cannot read the configuration {path}: {error.strerror}") from error
    except ValueError as error:  # not UTF-8, or not TOML: both messages give the position
        raise BadConfiguration(f"the configuration {path} is not valid TOML: {error}") from error
    unknown = sorted(document.keys() - {"executors"})
    if unknown:
        raise BadConfiguration(
            f"{path}: unknown key {unknown[0]!r}: put an executor's settings into a table "
            "[executors.NAME]"
        )
    tables = document.get("executors", {})
    if not isinstance(tables, dict):
        raise BadConfiguration(
            f"{path}: 'executors' is {tables!r}, expected tables [executors.NAME]"
        )
    for name, table in tables.items():
        try:
            check_executor(name)
        except BadConfiguration as error:
            raise BadConfiguration(f"{path}: [executors.{name}]: {error}") from error
        if not isinstance(table, dict):
            raise BadConfiguration(
                f"{path}: executors.{name} is {table!r}, expected a table [executors.{name}]"
            )
    return tables


def split_time_limits(
    tables: Mapping[str, Mapping[str, Any]], file: Path | None = None
) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
    """The tables without the key `time_limit`, and the time limits in seconds, by executor.

    Every table can have that key: the worker enforces it, whether or not the executor knows it.
    Raises BadConfiguration.
    """
    rest: dict[str, dict[str, Any]] = {}
    limits: dict[str, float] = {}
    for name, table in tables.items():
        if TIME_LIMIT not in table:
            rest[name] = dict(table)
            continue
        limit = table[TIME_LIMIT]
        is_number = isinstance(limit, int | float) and not isinstance(limit, bool)
        if not is_number or not 0 < limit < float("inf"):
            raise BadConfiguration(
                f"{table_name(name, file)}: {TIME_LIMIT} is {limit!r}, expected seconds above 0"
            )
        limits[name] = float(limit)
        if others := {key: value for key, value in table.items() if key != TIME_LIMIT}:
            rest[name] = others
    return rest, limits


def with_time_limits(
    executors: Mapping[str, Offered], limits: Mapping[str, float]
) -> dict[str, Offered]:
    """The executors, with the operator's time limits instead of their own.

    Raises BadConfiguration for an inline executor, where no limit can be enforced.
    """
    return {
        name: replace(executor, time_limit=limits[name]) if name in limits else executor
        for name, executor in executors.items()
    }


def check_tables(
    executors: Mapping[str, Offered],
    raw: Mapping[str, Mapping[str, Any]],
    file: Path | None = None,
) -> None:
    """Check for tables that no executor of this worker uses; `raw` are the tables as loaded.

    Most are only logged, so that workers can share a file. Raises BadConfiguration for a table
    whose name was meant to contain dots.
    """
    for name in sorted(raw.keys() - executors.keys()):
        where = table_name(name, file)
        dotted = [executor for executor in executors if executor.startswith(f"{name}.")]
        if dotted:  # in TOML, an unquoted dot in a table's name starts a nested table
            raise BadConfiguration(f'{where}: quote a name with dots: [executors."{dotted[0]}"]')
        logger.warning(
            "%s is not used: this worker runs %s",
            where,
            ", ".join(sorted(executors)) or "no executor",
        )


def table_name(executor: str, file: Path | None = None) -> str:
    """The name of an executor's table in messages; `file` is the file it is in."""
    return f"[executors.{executor}]" + (f" of {file}" if file else "")


def configure(
    executors: Mapping[str, Executor],
    raw: Mapping[str, Mapping[str, Any]],
    *,
    file: Path | None = None,
) -> dict[str, Any]:
    """The result of each executor's `config` function for its table, or for {} without one.

    `file` is the source of `raw`, for messages. An executor without a `config` function gets None.
    Raises BadConfiguration for a table that its executor refuses or does not support.
    """
    return {
        name: configured(executor, raw.get(name), table_name(name, file))
        for name, executor in executors.items()
    }


def refusal(executor: Executor, table: Mapping[str, Any] | None, where: str) -> str:
    """The problem with an executor's table, called `where` in messages; empty if there is none."""
    try:
        configured(executor, table, where)
    except BadConfiguration as error:
        return str(error)
    return ""


def configured(executor: Executor, table: Mapping[str, Any] | None, where: str) -> Any:
    """An executor's configuration from its table, `where` in messages. Raises BadConfiguration."""
    if executor.config is None:
        if table is not None:
            raise BadConfiguration(
                f"{where}: executor {executor.name!r} of plugin {executor.plugin!r} takes no "
                "configuration: remove the table"
            )
        return None
    try:
        return executor.config(table or {})
    except BaseException as error:  # a plugin's exception must not end a worker or its child
        what = str(error) if isinstance(error, ValueError | BadConfiguration) else repr(error)
        raise BadConfiguration(
            f"{where}: {what} (reported by executor {executor.name!r} of plugin "
            f"{executor.plugin!r}; correct the table and restart the worker)"
        ) from error
