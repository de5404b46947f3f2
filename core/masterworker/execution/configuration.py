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
from pathlib import Path
from typing import Any

from ..words.errors import BadConfiguration
from ..words.executor import Executor
from ..words.paths import check_executor

logger = logging.getLogger(__name__)


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


def configure(
    executors: Mapping[str, Executor],
    raw: Mapping[str, Mapping[str, Any]],
    *,
    file: Path | None = None,
) -> dict[str, Any]:
    """What each executor's `config` function makes of its table, or of none: {}.

    `file` is where `raw` came from, for the messages. An executor without a `config` function has
    None. Raises BadConfiguration for a table that its executor refuses or has no use for; a table
    of an executor that this worker does not run is only logged, so that workers can share a file.
    """
    where = f" of {file}" if file else ""
    for name in sorted(raw.keys() - executors.keys()):
        dotted = [executor for executor in executors if executor.startswith(f"{name}.")]
        if dotted:  # in TOML a dot in a table's name makes a table within a table
            raise BadConfiguration(
                f'[executors.{dotted[0]}]{where}: quote a name with dots: [executors."{dotted[0]}"]'
            )
        logger.warning(
            "[executors.%s]%s is not used: this worker runs %s",
            name,
            where,
            ", ".join(sorted(executors)) or "no executor",
        )
    return {
        name: _configured(executor, raw.get(name), f"[executors.{name}]{where}")
        for name, executor in executors.items()
    }


def _configured(executor: Executor, table: Mapping[str, Any] | None, where: str) -> Any:
    if executor.config is None:
        if table is not None:
            raise BadConfiguration(
                f"{where}: executor {executor.name!r} of plugin {executor.plugin!r} takes no "
                "configuration: remove the table"
            )
        return None
    try:
        return executor.config(table or {})
    except Exception as error:
        what = str(error) if isinstance(error, ValueError | BadConfiguration) else repr(error)
        raise BadConfiguration(
            f"{where}: {what} (so says executor {executor.name!r} of plugin {executor.plugin!r}; "
            "correct the table and start the worker again)"
        ) from error
