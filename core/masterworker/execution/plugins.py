"""The installed plugins and their executors, with a status record for each plugin.

`probe.py` finds out which executors a plugin has; no plugin is imported here. The order of loading
decides nothing: if two plugins register the same name, it stands for neither.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from ..words.errors import BadConfiguration
from ..words.executor import Offer, split_asked
from .probe import PROBE_SECONDS, Probed, probe
from .sandbox import Sandbox


@dataclass(frozen=True, slots=True)
class PluginRecord:
    """The state of one entry point; a row of `mwctl plugins list`.

    A `broken` plugin could not be loaded and has no executors. One in `conflict` shares a name with
    another, or is hidden by another installation of its own distribution. `reason` names the
    problem and its remedy; it is empty for `ok`.
    """

    name: str
    distribution: str
    version: str
    executors: tuple[str, ...]
    status: Literal["ok", "broken", "conflict"]
    reason: str


class Plugins:
    """The plugins of this environment. `records` has one row for each, sorted by name."""

    def __init__(self, plugins: Iterable[Probed]) -> None:
        self._plugins = tuple(plugins)
        self.records = tuple(self._record(plugin) for plugin in self._plugins)

    @classmethod
    def probe(
        cls,
        asked: Sequence[str] = (),
        configs: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        file: Path | None = None,
        sandbox: Sandbox | None = None,
        seconds: float = PROBE_SECONDS,
    ) -> Self:
        """Load every plugin in a process of its own, and collect its executors.

        `asked` are the executors that a worker should run: their tables in `configs`, from `file`,
        are checked. If each names its plugin, only those plugins are loaded. `sandbox` restricts
        the processes, and each plugin may take `seconds` to load. Never raises for a plugin; raises
        MasterworkerError if no process can be started.
        """
        split = [split_asked(one) for one in asked]
        named = {plugin for plugin, _ in split if plugin is not None}
        everything = not split or any(plugin is None for plugin, _ in split)
        tables = {name: (configs or {}).get(name) for _, name in split}
        only = None if everything else named
        return cls(probe(tables, file=file, only=only, sandbox=sandbox, seconds=seconds))

    def names(self) -> list[str]:
        """The bare names that stand for exactly one executor, sorted."""
        every = [offer.name for plugin in self._plugins for offer in plugin.offers]
        return sorted(name for name in set(every) if every.count(name) == 1)

    def executor(self, asked: str) -> Offer:
        """The executor that an operator names as `NAME` or `PLUGIN:NAME`.

        Raises BadConfiguration if there is none, or more than one.
        """
        wanted, name = split_asked(asked)
        found = [
            (plugin, offer)
            for plugin, offer in self._registrations(name)
            if wanted in (None, plugin.found.name)
        ]
        if not found:
            raise BadConfiguration(self._unknown(asked))
        if len(found) > 1:
            raise BadConfiguration(_ambiguous(name, [plugin for plugin, _ in found]))
        return found[0][1]

    def executors(self, asked: Sequence[str]) -> dict[str, Offer]:
        """The executors a worker should run, by bare name, which is all that a task has.

        Raises BadConfiguration if one is missing or ambiguous or does not accept its configuration,
        or if two have the same bare name.
        """
        chosen: dict[str, Offer] = {}
        for one in asked:
            offer = self.executor(one)
            other = chosen.setdefault(offer.name, offer)
            if other is not offer:
                raise BadConfiguration(
                    f"a worker can run only one executor named {offer.name!r}, but those of the "
                    f"plugins {other.plugin!r} and {offer.plugin!r} were requested: start one "
                    "worker for each"
                )
            if offer.refusal:
                raise BadConfiguration(offer.refusal)
        return chosen

    def _registrations(self, name: str) -> list[tuple[Probed, Offer]]:
        return [
            (plugin, offer)
            for plugin in self._plugins
            for offer in plugin.offers
            if offer.name == name
        ]

    def _record(self, plugin: Probed) -> PluginRecord:
        conflict = plugin.found.hidden or "; ".join(self._conflicts(plugin))
        return PluginRecord(
            name=plugin.found.name,
            distribution=plugin.found.distribution,
            version=plugin.found.version,
            executors=tuple(sorted(offer.name for offer in plugin.offers)),
            status="broken" if plugin.broken else "conflict" if conflict else "ok",
            reason=plugin.broken or conflict,
        )

    def _conflicts(self, plugin: Probed) -> Iterator[str]:
        for other in self._plugins:
            found = other.found
            if other is not plugin and found.name == plugin.found.name and not found.hidden:
                yield (
                    f"{found.distribution} {found.version} has a plugin of the same name: "
                    "uninstall one of the two"
                )
        for offer in plugin.offers:
            sources = [source for source, _ in self._registrations(offer.name)]
            if len(sources) > 1:
                yield _ambiguous(offer.name, sources)

    def _unknown(self, asked: str) -> str:
        there_are = ", ".join(self.names()) or "none at all"
        broken = "".join(
            f"\n{plugin.found} could not be loaded: {plugin.broken}"
            for plugin in self._plugins
            if plugin.broken
        )
        return (
            f"no executor {asked!r}; available: {there_are}. Install the package that provides it "
            f"into this environment ({sys.prefix}) with pip install, and list the plugins with "
            f"mwctl plugins list{broken}"
        )


def _ambiguous(name: str, sources: Sequence[Probed]) -> str:
    claim = (
        f"executor {name!r} is registered by {' and by '.join(str(one.found) for one in sources)}"
    )
    choices = sorted({f"{plugin.found.name}:{name}" for plugin in sources})
    if len(choices) < len(sources):
        return f"{claim}: uninstall one of them"
    return f"{claim}: ask for {' or '.join(choices)}"
