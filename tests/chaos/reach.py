"""Which faults can have affected which process, and when; used to explain an event.

A stall of the machine counts as a fault: a process that was late during it need not have a bug.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from tests.chaos.journals import Fault, Settings


class Reach:
    """The faults that were carried out, and the stalls of the machine."""

    def __init__(
        self, faults: Sequence[Fault], settings: Settings, stalls: Sequence[Fault] = ()
    ) -> None:
        self.faults = sorted(
            (fault for fault in faults if not fault.skipped), key=lambda fault: fault.began
        )
        self._all = sorted([*self.faults, *stalls], key=lambda fault: fault.began)
        self._after = settings.reach

    def touching(self, process: str, since: float, until: float) -> Fault | None:
        """The last fault that hit this process or ZooKeeper and had effects in this time.

        If there was none, a stall.
        """
        found = None
        for fault in self._during(since, until):
            if _strikes(fault, process) and (found is None or fault.kind != "stall"):
                found = fault
        return found

    def alone(self, fault: Fault, until: float, harmless: tuple[str, ...]) -> bool:
        """Whether no other fault had effects from this one's start until then.

        Faults of `harmless` roles do not count.
        """
        return all(
            other is fault or other.target.startswith(harmless)
            for other in self._during(fault.began, until)
        )

    def _during(self, since: float, until: float) -> Iterator[Fault]:
        for fault in self._all:
            if fault.began > until:
                return
            if fault.ended + self._after >= since:
                yield fault


def _strikes(fault: Fault, process: str) -> bool:
    """Whether a fault concerns this process, as its target, one of its targets, or one of all."""
    if fault.target == process or fault.target.startswith(("zookeeper", "ensemble", "machine")):
        return True
    return json.dumps(process) in json.dumps(dict(fault.detail))
