"""Finds the installed plugins, that is, the entry points of our group, without loading them.

`importlib.metadata.entry_points()` silently drops the second installation of a distribution. Python
cannot import its modules, so it is not loaded here either, but an operator who upgraded it must be
told. An editable installation that is found twice (its metadata is in the checkout and in
site-packages) counts as one installation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from ..words.executor import GROUP
from .loading import evidence


class Found(NamedTuple):
    """An entry point: the plugin's name, its distribution, and the module to import.

    `broken` or `hidden` says why it cannot be loaded.
    """

    name: str
    distribution: str
    version: str
    module: str = ""
    broken: str = ""
    hidden: str = ""

    def order(self) -> tuple[str, str, bool, str]:
        """The sort key of the list of plugins."""
        return self.name, self.distribution, bool(self.hidden), self.version

    def __str__(self) -> str:
        return f"plugin {self.name!r} ({self.distribution} {self.version})"


class _Installed(NamedTuple):
    """A distribution with plugins, and the folder its modules are imported from."""

    folder: str
    name: str
    version: str
    distribution: metadata.Distribution

    @property
    def key(self) -> str:
        """The name in the normalized form that pip compares."""
        return re.sub(r"[-_.]+", "-", self.name).lower()


def find() -> list[Found]:
    """Every plugin on this process's path, sorted by name. Never raises for a distribution."""
    found = [plugin for plugins in _by_distribution() for plugin in plugins]
    return sorted(found, key=Found.order)


def _by_distribution() -> Iterator[Iterator[Found]]:
    first: dict[str, _Installed] = {}
    seen: set[tuple[str, str]] = set()
    for here in _installed():
        shown = first.setdefault(here.key, here)
        hidden = "" if _are_one(shown, here) else _hidden(shown, here)
        yield _plugins(here, hidden, seen)


def _plugins(here: _Installed, hidden: str, seen: set[tuple[str, str]]) -> Iterator[Found]:
    """The plugins of a distribution, except those already found in an earlier sighting of it."""
    try:
        entry_points = here.distribution.entry_points.select(group=GROUP)
    except Exception as error:  # noqa: BLE001 - the parser can raise anything on invalid input
        broken = f"entry_points.txt in {here.folder} cannot be read: {evidence(error)}"
        yield Found(here.name, here.name, here.version, broken=broken)
        return
    for entry_point in entry_points:
        if hidden:
            yield Found(entry_point.name, here.name, here.version, hidden=hidden)
        elif (here.key, entry_point.name) not in seen:
            seen.add((here.key, entry_point.name))
            yield Found(entry_point.name, here.name, here.version, entry_point.value)


def _installed() -> list[_Installed]:
    """All distributions with plugins, in the order of `sys.path`."""
    places: dict[str, int] = {}
    found: dict[tuple[int, str, str], _Installed] = {}
    for distribution in filter(_may_have_plugins, metadata.distributions()):
        folder = str(Path(str(distribution.locate_file(""))).resolve())
        place = places.setdefault(folder, len(places))
        name, version = _field(distribution, "Name"), _field(distribution, "Version")
        # A folder that is on the path twice shows the same distribution twice: it counts once.
        found.setdefault((place, name, version), _Installed(folder, name, version, distribution))
    return [found[key] for key in sorted(found)]


def _may_have_plugins(distribution: metadata.Distribution) -> bool:
    try:
        return f"[{GROUP}]" in (distribution.read_text("entry_points.txt") or "")
    except UnicodeDecodeError:
        return True  # reading its entry points will fail again, and will be reported


def _field(distribution: metadata.Distribution, key: str) -> str:
    try:
        return distribution.metadata[key] or "unknown"
    except Exception:  # noqa: BLE001 - versions of Python differ on a missing or damaged METADATA
        return "unknown"


def _are_one(shown: _Installed, here: _Installed) -> bool:
    """Whether two sightings of a name are one installation, or identical copies."""
    if shown.name == "unknown":  # without metadata, nothing shows that they are the same
        return True
    return shown.version == here.version or _is_editable(shown) or _is_editable(here)


def _is_editable(here: _Installed) -> bool:
    """Whether its modules are in a checkout, wherever its metadata is."""
    # Private, but there is no other way to tell: setuptools leaves NAME.egg-info in the checkout.
    if str(getattr(here.distribution, "_path", "")).endswith(".egg-info"):
        return True
    try:
        origin = json.loads(here.distribution.read_text("direct_url.json") or "{}")
        return bool(origin["dir_info"]["editable"])
    except (ValueError, KeyError, TypeError):
        return False


def _hidden(shown: _Installed, here: _Installed) -> str:
    return (
        f"{here.name} {here.version} in {here.folder} is hidden by {shown.name} {shown.version} "
        f"in {shown.folder}, which comes first on Python's path: uninstall one of the two"
    )
