"""Child processes: starting one for an executor, and keeping idle ones for further tasks.

A child loads one plugin and serves tasks sealed with one key, or tasks that are not sealed. An idle
child is kept for the next task that fits, so that tasks of two plugins can alternate without
starting a process for each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..words.errors import BadConfiguration
from ..words.executor import Offer
from . import frames
from .guardian import Guardian
from .process import ChildEnded, ChildProcess
from .sandbox import Sandbox


class CannotStart(Exception):
    """No child could be started for an executor; the message says why.

    `everything` means that the interpreter itself does not start, whatever the plugin.
    """

    def __init__(self, why: str, *, everything: bool) -> None:
        super().__init__(why)
        self.everything = everything


class Nursery:
    """Starts children for `executors`; they differ only in the plugin they load.

    `configs` are the operator's tables for the executors. `sandbox` restricts the children, and
    `environment` has the variables they get in addition to the sandbox's.
    """

    def __init__(
        self,
        executors: Mapping[str, Offer],
        configs: Mapping[str, Mapping[str, Any]],
        guardian: Guardian,
        sandbox: Sandbox,
        environment: Mapping[str, str],
    ) -> None:
        """Raises BadConfiguration if `configs` cannot be passed to a process."""
        self._guardian = guardian
        self._environment = sandbox.environment() | dict(environment)
        self._user = sandbox.user
        offers: dict[str, list[Offer]] = {}
        for offer in executors.values():
            offers.setdefault(offer.plugin, []).append(offer)
        self._hellos = {
            plugin: _hello(plugin, some, configs, sandbox) for plugin, some in offers.items()
        }

    def start(
        self, offer: Offer, key_id: str, on_start: Callable[[ChildProcess], None]
    ) -> ChildProcess:
        """A new child that can run this executor, for tasks sealed with this key.

        `on_start` is called with the child as soon as it exists, so that it can be killed. Raises
        CannotStart, or ChildEnded if it was killed by the guardian or by `kill`; the child has then
        ended.
        """
        try:
            child = ChildProcess(self._environment, self._guardian, self._user, key_id)
        except (OSError, RuntimeError) as error:
            raise CannotStart(
                f"no child process can be started: {error}", everything=True
            ) from error
        on_start(child)
        try:
            child.greet(offer.plugin, self._hellos[offer.plugin])
        except ChildEnded as ended:
            child.end()
            if ended.interrupted or child.stopped:
                raise
            raise CannotStart(
                f"a child process could not load plugin {offer.plugin!r}: {ended.detail}"
                if child.started
                else f"no child process can be started: {ended.detail}",
                everything=not child.started,
            ) from None
        if offer.name in child.refused:
            child.end()
            raise CannotStart(child.refused[offer.name], everything=False)
        return child


def _hello(
    plugin: str,
    offers: list[Offer],
    configs: Mapping[str, Mapping[str, Any]],
    sandbox: Sandbox,
) -> bytes:
    """The first request to a new child: its resource limits, and what to load."""
    tables = {offer.name: configs.get(offer.name) for offer in offers}
    wanted = {"plugin": plugin, "module": offers[0].module, "tables": tables}
    try:
        return frames.pack(wanted | sandbox.bounds())
    except (TypeError, ValueError, OverflowError) as error:
        raise BadConfiguration(
            f"the configuration of {', '.join(tables)} cannot be passed to a process ({error}): "
            "write values other than text, numbers, lists and tables as text"
        ) from error


class Idle:
    """The idle children, the one that has waited longest first.

    It has no lock: callers on several threads must hold one.
    """

    def __init__(self) -> None:
        self._children: list[ChildProcess] = []

    def add(self, child: ChildProcess) -> None:
        """Keep this child, as the most recently used one."""
        self._children.append(child)

    def take(self, offer: Offer, key_id: str) -> ChildProcess | None:
        """The most recently used child for this executor and key. It may be dead."""
        for child in reversed(self._children):
            fits = child.plugin == offer.plugin and child.key_id == key_id
            if fits and offer.name not in child.refused:
                self._children.remove(child)
                return child
        return None

    def dismiss(self, keep: int) -> list[ChildProcess]:
        """Remove and return the children that have waited longest, so that `keep` remain."""
        going = self._children[: max(0, len(self._children) - max(0, keep))]
        del self._children[: len(going)]
        return going
