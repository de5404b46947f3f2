"""Child processes: how one is started for an executor, and those that wait for their next task.

A child loads one plugin and serves tasks sealed with one key, or with none. An idle one is kept for
the next task that it fits, so that tasks of two plugins can alternate without a start for each.
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

    `everything` says that the interpreter itself does not start, whatever it is to load.
    """

    def __init__(self, why: str, *, everything: bool) -> None:
        super().__init__(why)
        self.everything = everything


class Nursery:
    """Starts children for `executors`, all alike but for the plugin they load.

    `configs` are the operator's tables for the executors. `sandbox` bounds the children, and
    `environment` is what they see beside what it gives them.
    """

    def __init__(
        self,
        executors: Mapping[str, Offer],
        configs: Mapping[str, Mapping[str, Any]],
        guardian: Guardian,
        sandbox: Sandbox,
        environment: Mapping[str, str],
    ) -> None:
        """Raises BadConfiguration if `configs` cannot be handed to a process."""
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

        `on_start` is given the child as soon as there is one, so that it can be killed. Raises
        CannotStart, or ChildEnded if it was killed by the guardian or by its `kill`; the child has
        then ended.
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
    """What a new child is told: its bounds, and what to load."""
    tables = {offer.name: configs.get(offer.name) for offer in offers}
    wanted = {"plugin": plugin, "module": offers[0].module, "tables": tables}
    try:
        return frames.pack(wanted | sandbox.bounds())
    except (TypeError, ValueError, OverflowError) as error:
        raise BadConfiguration(
            f"the configuration of {', '.join(tables)} cannot be handed to a process: {error}; "
            "write what is not text, a number, a list or a table as text"
        ) from error


class Idle:
    """The children that wait for a task, the one that waits longest first.

    It has no lock of its own: whoever uses it from several threads holds one.
    """

    def __init__(self) -> None:
        self._children: list[ChildProcess] = []

    def __len__(self) -> int:
        return len(self._children)

    def add(self, child: ChildProcess) -> None:
        """Keep this one; it has just been of use."""
        self._children.append(child)

    def take(self, offer: Offer, key_id: str) -> ChildProcess | None:
        """The one used last of those that can run this executor for this key. It may be dead."""
        for child in reversed(self._children):
            fits = child.plugin == offer.plugin and child.key_id == key_id
            if fits and offer.name not in child.refused:
                self._children.remove(child)
                return child
        return None

    def dismiss(self, keep: int) -> list[ChildProcess]:
        """Take out those that waited longest, so that this many stay."""
        going = self._children[: max(0, len(self._children) - max(0, keep))]
        del self._children[: len(going)]
        return going
