"""What the operator configures for executors: `mwctl worker --config FILE`.

The file is TOML, with one table `[executors.NAME]` for each executor. What may stand in it is the
executor's business alone: its `config` function checks the table and returns what its tasks see
as `task.config`. The raw tables are plain data, so that a child process can be given them and call
the same function again; what it returns need not travel.
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
"""The key of an executor's table that is the worker's own."""


def load_configuration(path: Path) -> dict[str, dict[str, Any]]:
    """The tables of a configuration file, by executor name. Raises BadConfiguration."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadConfiguration(f"cannot read the configuration {path}: {error.strerror}") from error
    except ValueError as error:  # not UTF-8, or not TOML: either message says where
        raise BadConfiguration(f"the configuration {path} is not TOML: {error}") from error
    unknown = sorted(document.keys() - {"executors"})
    if unknown:
        raise BadConfiguration(
            f"{path}: unknown key {unknown[0]!r}: what an executor is to know stands in a table "
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
    """The tables without their key `time_limit`, and the time limits in seconds, by executor.

    That key can stand in every table: the worker enforces it, whatever the executor knows of it.
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
    """The executors, with the operator's time limits in place of their own.

    Raises BadConfiguration for one that runs inline: no limit can be enforced there.
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
    """Look for tables that no executor of this worker will be given.

    Most are only logged, so that workers can share a file. Raises BadConfiguration for one whose
    name was meant to have dots.
    """
    for name in sorted(raw.keys() - executors.keys()):
        where = table_name(name, file)
        dotted = [executor for executor in executors if executor.startswith(f"{name}.")]
        if dotted:  # in TOML a dot in a table's name makes a table within a table
            raise BadConfiguration(f'{where}: quote a name with dots: [executors."{dotted[0]}"]')
        logger.warning(
            "%s is not used: this worker runs %s",
            where,
            ", ".join(sorted(executors)) or "no executor",
        )


def table_name(executor: str, file: Path | None = None) -> str:
    """How messages call an executor's table; `file` is where it stands."""
    return f"[executors.{executor}]" + (f" of {file}" if file else "")


def configure(
    executors: Mapping[str, Executor],
    raw: Mapping[str, Mapping[str, Any]],
    *,
    file: Path | None = None,
) -> dict[str, Any]:
    """What each executor's `config` function makes of its table, or of none: {}.

    `file` is where `raw` came from, for the messages. An executor without a `config` function has
    None. Raises BadConfiguration for a table that its executor refuses or has no use for.
    """
    return {
        name: configured(executor, raw.get(name), table_name(name, file))
        for name, executor in executors.items()
    }


def refusal(executor: Executor, table: Mapping[str, Any] | None, where: str) -> str:
    """What is wrong with an executor's table, which messages call `where`; empty if nothing is."""
    try:
        configured(executor, table, where)
    except BadConfiguration as error:
        return str(error)
    return ""


def configured(executor: Executor, table: Mapping[str, Any] | None, where: str) -> Any:
    """What an executor makes of its table, which messages call `where`. Raises BadConfiguration."""
    if executor.config is None:
        if table is not None:
            raise BadConfiguration(
                f"{where}: executor {executor.name!r} of plugin {executor.plugin!r} takes no "
                "configuration: remove the table"
            )
        return None
    try:
        return executor.config(table or {})
    except BaseException as error:  # what a plugin raises ends neither a worker nor its child
        what = str(error) if isinstance(error, ValueError | BadConfiguration) else repr(error)
        raise BadConfiguration(
            f"{where}: {what} (so says executor {executor.name!r} of plugin {executor.plugin!r}; "
            "correct the table and start the worker again)"
        ) from error
