"""Carries out a schedule's faults: each kind hits its target, waits, and undoes what it did.

A fault that cannot be carried out (its target is gone, or its condition never comes true) is
skipped; the journal has the reason. Any other error here is a bug of the driver, and ends the
campaign.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final, Literal

from tests.chaos.actors import REST, Actor, Busy
from tests.chaos.journal import Journal
from tests.chaos.schedule import Fault
from tests.chaos.stage import Stage
from tests.chaos.strike import PATIENCE, Skipped, Strike, turn
from tests.faults.expire import expire
from tests.faults.proxy import Rule
from tests.faults.wire import Op

FAILPOINT_PATIENCE: Final = 15.0
"""Seconds that an armed process has to reach its failpoint, including its start."""

OFFICE_PATIENCE: Final = 30.0
"""The same for a failpoint that only a primary reaches: it must first be elected, and some wait
before a primary removes what a worker left behind."""

BACK_DEADLINE: Final = 20.0
"""Seconds for a target to be back."""

IN_TURN: Final = 0.3
"""Seconds that a process is down in a rolling restart."""

HOLES: Final[dict[str, Literal["to_client", "to_server", "both"]]] = {
    "hole-in": "to_client",
    "hole-out": "to_server",
    "hole-both": "both",
}


def carry_out(stage: Stage, fault: Fault, journal: Journal) -> bool:
    """Carry out a fault and journal it; return whether it was carried out."""
    strike = Strike(stage, fault, journal)
    skipped = None
    try:
        with _ensemble(strike):
            _KINDS[fault.kind](strike)
    except (Skipped, Busy) as reason:
        skipped = str(reason)
    strike.end(skipped)
    return skipped is None


@contextlib.contextmanager
def _ensemble(strike: Strike) -> Iterator[None]:
    """Allow one fault of ZooKeeper itself at a time, and only while all of its servers serve."""
    if strike.fault.target not in ("leader", "follower", "ensemble"):
        yield
        return
    with turn(strike.stage.ensemble, "ZooKeeper has not recovered from another fault"):
        yield
        strike.until(strike.stage.serving, BACK_DEADLINE)


# --- one process ---------------------------------------------------------------------------------


def _kill(strike: Strike) -> None:
    with strike.victim() as victim:
        victim.kill(strike.why, strike.fault.duration)
        strike.until(lambda: victim.pid != strike.pid and victim.alive, BACK_DEADLINE)


def _stop(strike: Strike) -> None:
    """Pause a process; a ZooKeeper server that was silent for too long is killed, not resumed.

    It would have to rejoin the ensemble, and ZooKeeper 3.8.0 cannot do that in the same process:
    transactions waiting to be logged are dropped but counted as present, and its tree differs from
    then on (ZOOKEEPER-4712). Operators of that version need a watchdog that kills such a server.
    """
    with strike.victim() as victim:
        victim.pause()
        strike.hold(strike.fault.duration)
        if victim.role == "zookeeper" and strike.fault.duration > strike.stage.cast.session_timeout:
            victim.kill(strike.why, REST)
        else:
            victim.resume()


def _failpoint(strike: Strike) -> None:
    """Restart the target with an armed failpoint, and make sure that it reaches it."""
    if strike.fault.target.startswith("master"):
        with turn(strike.stage.office, "another fault sees to it who is in office"):
            _arm(strike, OFFICE_PATIENCE)
    else:
        _arm(strike, FAILPOINT_PATIENCE)


def _arm(strike: Strike, patience: float) -> None:
    point, action = strike.fault.detail["failpoint"], strike.fault.detail["action"]
    with strike.victim() as victim:
        before = victim.pid
        victim.terminate(strike.why, failpoint=f"{point}:{action}:{strike.fault.detail['count']}")
        strike.until(lambda: victim.pid not in (None, before), BACK_DEADLINE)
        armed = strike.pid = victim.pid
        if armed in (None, before):
            raise Skipped(f"{victim.name} was not restarted")

        def struck() -> bool:
            return armed in victim.exit_codes or victim.paused

        def struck_in_office() -> bool:
            if not struck():
                _vacate(strike, victim, struck)
            return struck()

        if point.startswith("cleaner."):
            _leave_a_folder(strike)
        in_time = strike.until(struck_in_office if victim.role == "master" else struck, patience)
        strike.detail["struck"] = time.time()
        if victim.paused:
            strike.hold(strike.fault.duration)
            victim.resume()
        elif not in_time:
            victim.terminate(strike.why)  # and so disarm it
            raise Skipped(f"{victim.name} did not come by {point} in {patience:g} s")
        elif victim.exit_codes[armed] != -signal.SIGKILL:
            code = victim.exit_codes[armed]
            raise Skipped(f"{victim.name} ended with {code} before it came by {point}")
        strike.until(lambda: victim.alive, BACK_DEADLINE)


def _leave_a_folder(strike: Strike) -> None:
    """End a worker's session, so that the primary has a folder to remove some time later."""
    worker = strike.stage.workers[strike.fault.number % len(strike.stage.workers)]
    fault = replace(strike.fault, kind="expire", target=worker.name, detail={})
    carry_out(strike.stage, fault, strike.journal)


def _vacate(strike: Strike, heir: Actor, enough: Callable[[], bool]) -> None:
    """Make the current primary step down, unless it is `heir`, once `heir` can run for election."""
    primary = strike.stage.primary()
    if primary is None or primary is heir or not strike.stage.at_work(heir):
        return
    with contextlib.suppress(Busy), primary.claimed():
        pid = primary.pid
        strike.detail.setdefault("vacated", []).append(primary.name)
        primary.terminate(strike.why)
        strike.until(lambda: enough() or primary.pid not in (None, pid), BACK_DEADLINE)


# --- its session, and its wire -------------------------------------------------------------------


def _expire(strike: Strike) -> None:
    with strike.victim() as victim:
        hosts = next(strike.stage.serving_hosts(), None)
        session = victim.session
        if session is None or hosts is None:
            raise Skipped(f"{victim.name} has no session that could be ended now")
        strike.detail["session"] = f"{session[0]:#x}"
        try:
            expire(hosts, *session)
        except (OSError, TimeoutError) as error:
            raise Skipped(f"the session did not end: {error}") from error


def _drop(strike: Strike) -> None:
    """Drop a request, or the reply to one; the rules on the target's proxies count as one."""
    fault = strike.fault
    op, nth = Op[fault.detail["operation"]], fault.detail["nth"]
    rules: list[Rule] = []

    def none_struck(_request: bytes) -> bool:
        return not any(rule.seen >= rule.nth for rule in rules)

    with strike.victim() as victim:
        for proxy in victim.proxies:
            add = proxy.drop_request if fault.kind == "drop-request" else proxy.drop_reply
            rules.append(add(op, nth, where=none_struck))
        struck = strike.until(lambda: any(rule.struck.is_set() for rule in rules), PATIENCE)
        for proxy, rule in zip(victim.proxies, rules, strict=True):
            proxy.withdraw(rule)
        if not struck:
            raise Skipped(f"{victim.name} sent no {nth} {op.name} in {PATIENCE:g} s")


def _reset(strike: Strike) -> None:
    with strike.victim() as victim:
        for proxy in victim.proxies:
            proxy.reset()


def _hole(strike: Strike) -> None:
    with strike.victim() as victim:
        for proxy in victim.proxies:
            proxy.hold(HOLES[strike.fault.kind])
        strike.hold(strike.fault.duration)
        for proxy in victim.proxies:
            proxy.release()


def _delay(strike: Strike) -> None:
    with strike.victim() as victim:
        for proxy in victim.proxies:
            proxy.delay(strike.fault.detail["latency"])
        strike.hold(strike.fault.duration)
        for proxy in victim.proxies:
            proxy.delay(0.0)


# --- many at once --------------------------------------------------------------------------------


def _rolling_restart(strike: Strike) -> None:
    """Stop one process after the other; the next one's turn is when the last is working again."""
    stage = strike.stage
    group = stage.workers if strike.fault.target == "workers" else stage.masters
    victims = strike.detail["victims"] = []
    for actor in group:
        with actor.claimed():
            line = {"name": actor.name, "pid": actor.pid, "began": time.time()}
            before = actor.pid
            actor.terminate(strike.why, IN_TURN)
            strike.until(lambda: actor.pid not in (None, before), BACK_DEADLINE)  # noqa: B023
            strike.until(lambda: stage.at_work(actor), BACK_DEADLINE)  # noqa: B023
            victims.append(line | {"ended": time.time()})


def _quorum_loss(strike: Strike) -> None:
    leader = strike.stage.leader()
    servers = sorted(strike.stage.zookeepers, key=lambda server: server is not leader)
    _kill_all(strike, servers[:2])


def _ensemble_restart(strike: Strike) -> None:
    _kill_all(strike, strike.stage.zookeepers)


def _kill_all(strike: Strike, servers: Sequence[Actor]) -> None:
    """Kill several servers at a time; they are back after the fault's duration."""
    victims = strike.detail["victims"] = []
    for server in servers:
        victims.append({"name": server.name, "pid": server.pid, "began": time.time()})
        server.kill(strike.why, strike.fault.duration)
    strike.until(strike.stage.serving, strike.fault.duration + BACK_DEADLINE)
    for victim in victims:
        victim["ended"] = time.time()


_KINDS: Final[dict[str, Callable[[Strike], None]]] = {
    "kill": _kill,
    "stop": _stop,
    "failpoint": _failpoint,
    "expire": _expire,
    "drop-request": _drop,
    "drop-reply": _drop,
    "reset": _reset,
    "hole-in": _hole,
    "hole-out": _hole,
    "hole-both": _hole,
    "delay": _delay,
    "rolling-restart": _rolling_restart,
    "quorum-loss": _quorum_loss,
    "ensemble-restart": _ensemble_restart,
}
