"""Counts that must be right at every moment: a worker's assignments, and a client's ledger."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from masterworker.words import paths, records
from masterworker.words.model import Ledger
from tests.chaos.history import Create, Set, Transaction
from tests.chaos.story import Change, Place, Story, Where
from tests.chaos.verdict import Finding, Findings, Promise


class Slots:
    """Checks that no worker gets more tasks than it has slots, in total and for processes."""

    def __init__(self, story: Story, findings: Findings) -> None:
        self._story = story
        self._findings = findings
        self._held: Counter[tuple[str, bool]] = Counter()
        """By worker and whether the executor is inline there."""

    def see(self, transaction: Transaction, changes: Sequence[Change]) -> None:
        """Check the assignments after one transaction."""
        given: set[str] = set()
        for change in changes:
            for place in change.step.left:
                self._count(change, place, -1)
            for place in change.step.came:
                self._count(change, place, +1)
                given.add(place.worker)
        for worker in given - {""}:
            self._judge(transaction, worker)

    def _count(self, change: Change, place: Place, by: int) -> None:
        record = self._story.workers.get(place.worker)
        if place.where is Where.ASSIGNED and record is not None:
            inline = record.executors.get(change.life.executor, False)
            self._held[place.worker, inline] += by

    def _judge(self, transaction: Transaction, worker: str) -> None:
        record = self._story.workers.get(worker)
        if record is None:
            return
        processes = self._held[worker, False]
        held = processes + self._held[worker, True]
        if held > record.slots or processes > record.process_slots:
            self._findings.add(
                Finding(
                    Promise.SLOTS,
                    f"worker {worker} held {held} tasks, {processes} of them for processes; its "
                    f"slots are {record.slots} and {record.process_slots}",
                    zxid=transaction.zxid,
                    session=transaction.session,
                    at=transaction.at,
                )
            )


class Books:
    """Compares every ledger written with the tasks actually accepted and settled."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._accepted: Counter[str] = Counter()
        self._settled: Counter[str] = Counter()
        self._wrong: set[str] = set()

    def see(self, transaction: Transaction, changes: Sequence[Change]) -> None:
        """Check the ledgers written by one transaction."""
        written: defaultdict[str, bytes] = defaultdict(bytes)
        for operation in transaction.operations:
            client = _client(operation.path)
            if client and isinstance(operation, Create):
                self._accepted[client] = self._settled[client] = 0
            if client and isinstance(operation, Create | Set):
                written[client] = operation.data
        for change in changes:
            client = change.life.task.rpartition("-")[0]
            self._accepted[client] += not change.step.left
            self._settled[client] += not change.step.came
        for client, data in written.items():
            self._judge(transaction, client, records.decode_ledger(data))

    def _judge(self, transaction: Transaction, client: str, ledger: Ledger) -> None:
        said = ledger.accepted, ledger.taken + ledger.expired
        true = self._accepted[client], self._settled[client]
        if said == true or client in self._wrong:
            return
        self._wrong.add(client)  # what is wrong once stays wrong
        self._findings.add(
            Finding(
                Promise.LEDGER,
                f"the ledger of client {client} says {said[0]} accepted and {said[1]} settled; in "
                f"truth it is {true[0]} and {true[1]}",
                zxid=transaction.zxid,
                session=transaction.session,
                at=transaction.at,
            )
        )


def _client(path: str) -> str:
    """The client whose folder this path is; empty if it is none."""
    folder, _, name = path.rpartition("/")
    return name if folder == paths.STATUS and paths.is_client(name) else ""
