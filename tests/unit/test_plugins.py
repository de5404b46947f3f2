"""The installed plugins: what they bring, what breaks, and what two of them may not both have."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from masterworker import BadConfiguration
from masterworker.execution.plugins import PluginRecord, Plugins
from tests.unit.attempts_support import is_alive
from tests.unit.throwaway_plugin import install

HEADER = "from masterworker import hookimpl\n"


def registering(*calls: str) -> str:
    """The source of a plugin whose hook makes these calls."""
    body = "".join(f"    {call}\n" for call in calls)
    return f"{HEADER}@hookimpl\ndef masterworker_register_executors(register):\n{body}"


REVERSE_ALONE = registering("register('throw_alone', lambda payload, task: payload)")
REVERSE = registering("register('throw_reverse', lambda payload, task: payload[::-1])")


class Site:
    """A folder of throw-away plugins on `sys.path`."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tmp_path = tmp_path
        self.monkeypatch = monkeypatch

    def add(self, name: str, source: str, version: str = "1.0", *, where: str = "") -> Path:
        """Install plugin `name` of distribution `dist-NAME`, and put its folder on the path."""
        base = self.tmp_path / where
        base.mkdir(exist_ok=True)
        folder = install(base, name, source, distribution=f"dist-{name}", version=version)
        self.monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        return folder

    def write_entry_points(self, name: str, text: str) -> None:
        """Replace the entry points of the distribution of plugin `name`."""
        (info,) = self.tmp_path.rglob(f"dist_{name}-*.dist-info")
        (info / "entry_points.txt").write_text(text, encoding="utf-8")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(tmp_path, monkeypatch)


def record(plugins: Plugins, name: str) -> PluginRecord:
    """The one record of plugin `name`."""
    (found,) = (record for record in plugins.records if record.name == name)
    return found


def test_included_executors_come_in_as_plugins() -> None:
    """The included executors are found through the entry point group, with their distribution."""
    plugins = Plugins.probe()
    assert {"read", "echo", "command", "python"} <= set(plugins.names())
    echo = record(plugins, "echo")
    assert (echo.distribution, echo.executors, echo.status) == ("masterworker", ("echo",), "ok")


def test_nothing_in_core_names_an_included_executor_module() -> None:
    """The platform does not import the included executors: it only finds them."""
    import masterworker

    sources = Path(masterworker.__file__).parent.rglob("*.py")
    assert [path for path in sources if "masterworker_executors" in path.read_text()] == []


def test_third_party_executor(site: Site) -> None:
    """A plugin's executor is found by bare name and by plugin, with its settings."""
    site.add(
        "throw_one",
        registering("register('throw_x', lambda p, t: p * 2, time_limit=5, attempts=3)"),
        "2.5",
    )
    plugins = Plugins.probe()
    executor = plugins.executor("throw_x")
    assert executor is plugins.executor("throw_one:throw_x")
    assert (executor.plugin, executor.time_limit, executor.attempts) == ("throw_one", 5, 3)
    assert record(plugins, "throw_one") == PluginRecord(
        "throw_one", "dist-throw_one", "2.5", ("throw_x",), "ok", ""
    )


def test_a_probe_ends_the_processes_that_an_import_started(site: Site) -> None:
    """Also one that left the process group, and its parent."""
    file = site.tmp_path / "pid"
    site.add(
        "throw_daemon",
        "import os, subprocess\n"
        f"subprocess.run(['setsid', 'sh', '-c', 'sleep 1000 & echo $! > {file}'])\n" + REVERSE,
    )
    assert record(Plugins.probe(), "throw_daemon").status == "ok"
    assert not is_alive(int(file.read_text()))


BROKEN = {
    "import": (f"{HEADER}import throw_is_missing\n", "No module named 'throw_is_missing'", "2"),
    "syntax": ("def (:\n", "SyntaxError", ""),
    "exit": (f"{HEADER}raise SystemExit('not on this machine')\n", "not on this machine", "2"),
    "no_hook": (f"{HEADER}", "has no hook: define masterworker_register_executors", ""),
    "misspelt": (f"{HEADER}@hookimpl\ndef masterworker_register(register): ...\n", "unknown", ""),
    "argument": (
        f"{HEADER}@hookimpl\ndef masterworker_register_executors(reg): ...\n",
        "can not be found in the hookspec",
        "",
    ),
    "raises": (registering("raise KeyError('throw')"), "KeyError: 'throw'", "4"),
    "name": (registering("register('No Name', print)"), "is not a valid executor name", "4"),
    "run": (registering("register('throw_x', 'print')"), "run is not callable", "4"),
    "setting": (registering("register('throw_x', print, speed=9)"), "speed", ""),
    "limit": (registering("register('throw_x', print, time_limit=-1)"), "seconds above 0", "4"),
    "twice": (
        registering("register('throw_x', print)", "register('throw_x', print)"),
        "registered twice",
        "5",
    ),
    "long": (registering("raise ValueError('many\\n' * 100_000)"), "many many", "4"),
    "interrupt": (f"{HEADER}raise KeyboardInterrupt\n", "KeyboardInterrupt", "2"),
    "base": (f"{HEADER}raise BaseException('all of it')\n", "all of it", "2"),
    "gone": ("import os\nos._exit(0)\n", "ended while the plugin was loaded: exit code 0", ""),
    "killed": ("import os\nos.kill(os.getpid(), 9)\n", "killed by SIGKILL", ""),
    "killed_loudly": (
        "import os, sys\nprint('so long', file=sys.stderr, flush=True)\nos.kill(os.getpid(), 11)\n",
        "so long",
        "",
    ),
    "endless": ("import time\nwhile True: time.sleep(1)\n", "not loaded within 5 s", ""),
    "stopped": ("import os\nos.kill(os.getpid(), 19)\n", "not loaded within 5 s", ""),
    "closing": (f"import os\nos.closerange(0, 256)\n{REVERSE_ALONE}", "exit code 1", ""),
    "nonsense": (
        "import os\nos.write(3, b'\\0\\0\\0\\4what')\nos._exit(0)\n",
        "sent an invalid answer",
        "",
    ),
    "flood": (
        "import os\nwhile True: os.write(3, b'\\0\\7' * 30_000)\n",
        "more than 262,144 bytes",
        "",
    ),
    "many": (
        registering("[register(f'throw_{n}', print) for n in range(300)]"),
        "at most 256",
        "",
    ),
}


@pytest.fixture(scope="module")
def with_broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Plugins]:
    """Every broken plugin at once, beside a good one: probed together."""
    base = tmp_path_factory.mktemp("broken")
    for kind, (source, _, _) in BROKEN.items():
        name = f"throw_{kind}"
        install(base, name, source, distribution=f"dist-{name}", version="0.3")
    folder = install(base, "throw_good", REVERSE, distribution="dist-good", version="1.0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        return folder, Plugins.probe(seconds=5.0)


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_plugin_stops_no_other(with_broken: tuple[Path, Plugins], kind: str) -> None:
    """Whatever is wrong with a plugin is recorded with evidence, and the rest is still loaded."""
    _, reason, line = BROKEN[kind]
    folder, plugins = with_broken
    broken = record(plugins, f"throw_{kind}")
    assert (broken.status, broken.executors) == ("broken", ())
    assert (broken.distribution, broken.version) == (f"dist-throw_{kind}", "0.3")
    assert reason in broken.reason
    assert len(broken.reason) < 2_000
    assert "\n" not in broken.reason
    if line:
        assert f"(line {line} of {folder / f'throw_{kind}.py'})" in broken.reason
    assert plugins.executor("throw_reverse").plugin == "throw_good"
    assert "echo" in plugins.names()


HARMLESS = {
    "thread": (
        "import threading\n"
        f"threading.Thread(target=threading.Event().wait).start()\n{REVERSE_ALONE}"
    ),
    "noise": f"import os\nprint('x' * 100_000)\nos.write(2, b'y' * 100_000)\n{REVERSE_ALONE}",
    "streams": f"import sys\nsys.stdout = sys.stderr = None\n{REVERSE_ALONE}",
    "signals": (
        "import signal\nfor number in range(1, 32):\n"
        f"    if number not in (9, 19): signal.signal(number, signal.SIG_IGN)\n{REVERSE_ALONE}"
    ),
    "forks": f"import os, time\nif not os.fork(): time.sleep(1000)\n{REVERSE_ALONE}",
    "escapes": f"import os\nos.fork()\n{REVERSE_ALONE}",
}


def test_what_a_plugin_leaves_running_or_prints_harms_nothing(
    site: Site, capfd: pytest.CaptureFixture[str]
) -> None:
    """Threads, forks, noise and signal handlers end with the probe; the plugins are sound."""
    for kind, source in HARMLESS.items():
        site.add(f"throw_{kind}", source.replace("throw_alone", f"throw_{kind}_x"))
    plugins = Plugins.probe(seconds=20.0)
    rows = [row for row in plugins.records if row.name.startswith("throw")]
    assert [(row.name, row.status) for row in rows] == [
        (f"throw_{kind}", "ok") for kind in sorted(HARMLESS)
    ]
    assert capfd.readouterr() == ("", "")
    assert not any("probing" in line for line in command_lines())


def command_lines() -> list[str]:
    """Those of this process's descendants in its session's probes, as far as they can be seen."""
    mine = f"PPid:\t{os.getpid()}\n"
    lines = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mine in (folder / "status").read_text():
                lines.append((folder / "cmdline").read_text())
    return lines


def test_what_the_parent_ignores_or_blocks_does_not_blind_the_probe() -> None:
    """With SIGCHLD ignored and all signals blocked, as a parent may leave them, all is found."""

    def spoil() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())

    program = "from masterworker.execution.plugins import Plugins; print(Plugins.probe().names())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        timeout=60,
        check=False,
        preexec_fn=spoil,
    )
    assert b"'echo', 'python'" in done.stdout, done.stderr


def test_half_registered_plugin_registers_nothing(site: Site) -> None:
    """A plugin that fails at its second executor does not keep its first."""
    site.add("throw_half", registering("register('throw_first', print)", "raise OSError('no')"))
    plugins = Plugins.probe()
    assert "throw_first" not in plugins.names()
    with pytest.raises(BadConfiguration, match="no executor 'throw_first'"):
        plugins.executor("throw_first")


def test_unreadable_entry_points_are_reported(site: Site) -> None:
    """A damaged entry_points.txt hides neither itself nor the other plugins."""
    site.add("throw_one", REVERSE)
    site.write_entry_points("throw_one", "[masterworker]\nno equals sign here\n")
    plugins = Plugins.probe()
    damaged = record(plugins, "dist-throw_one")
    assert damaged.status == "broken"
    assert "entry_points.txt" in damaged.reason
    assert "echo" in plugins.names()


def test_distribution_without_metadata_still_loads(site: Site) -> None:
    """A missing METADATA file costs a plugin its name and version, not its executors."""
    folder = site.add("throw_one", REVERSE)
    (metadata,) = folder.glob("*.dist-info/METADATA")
    metadata.unlink()
    plugins = Plugins.probe()
    assert "throw_reverse" in plugins.names()
    assert record(plugins, "throw_one").distribution == "unknown"


def test_unknown_executor_says_what_there_is(site: Site) -> None:
    """The error names the executors there are, what failed to load, and what to do."""
    site.add("throw_bad", f"{HEADER}import throw_is_missing\n", "1.2")
    with pytest.raises(BadConfiguration) as caught:
        Plugins.probe().executor("throw_reverse")
    message = str(caught.value)
    assert "no executor 'throw_reverse'; available: command, echo, python, read" in message
    assert "plugin 'throw_bad' (dist-throw_bad 1.2) could not be loaded: ModuleNotFound" in message
    assert "pip install" in message
    assert "mwctl plugins list" in message


def test_two_plugins_with_one_executor_name(site: Site) -> None:
    """Neither plugin wins a name both register; the error names both, and a plugin picks one."""
    site.add("throw_a", REVERSE + "    register('throw_own', print)\n", "1.0")
    site.add("throw_b", REVERSE, "2.0")
    plugins = Plugins.probe()
    assert "throw_reverse" not in plugins.names()
    assert "throw_own" in plugins.names()
    with pytest.raises(BadConfiguration) as caught:
        plugins.executor("throw_reverse")
    assert str(caught.value) == (
        "executor 'throw_reverse' is registered by plugin 'throw_a' (dist-throw_a 1.0) and by "
        "plugin 'throw_b' (dist-throw_b 2.0): ask for throw_a:throw_reverse or "
        "throw_b:throw_reverse"
    )
    assert plugins.executor("throw_b:throw_reverse").plugin == "throw_b"
    assert {record(plugins, name).status for name in ("throw_a", "throw_b")} == {"conflict"}
    assert record(plugins, "throw_a").reason == str(caught.value)


def test_included_name_is_not_taken_over(site: Site) -> None:
    """A third party cannot quietly replace an included executor."""
    site.add("throw_echo", registering("register('echo', lambda p, t: b'mine')"))
    plugins = Plugins.probe()
    with pytest.raises(BadConfiguration, match="ask for echo:echo or throw_echo:echo"):
        plugins.executor("echo")
    assert plugins.executor("echo:echo").module == "masterworker_executors.echo"


def test_one_entry_point_name_in_two_distributions(site: Site) -> None:
    """Both are reported; an executor that only one of them brings can still be used."""
    site.add("throw_a", REVERSE)
    site.add("throw_b", REVERSE + "    register('throw_own', print)\n")
    for name in ("throw_a", "throw_b"):
        site.write_entry_points(name, f"[masterworker]\nthrow_same = {name}\n")
    plugins = Plugins.probe()
    rows = [row for row in plugins.records if row.name == "throw_same"]
    assert [row.distribution for row in rows] == ["dist-throw_a", "dist-throw_b"]
    assert {row.status for row in rows} == {"conflict"}
    assert "dist-throw_b 1.0 has a plugin of the same name" in rows[0].reason
    assert plugins.executor("throw_same:throw_own").name == "throw_own"
    with pytest.raises(BadConfiguration, match=r"dist-throw_a 1\.0.*dist-throw_b 1\.0.*uninstall"):
        plugins.executor("throw_same:throw_reverse")


def test_one_distribution_installed_twice(site: Site) -> None:
    """The installation that Python imports is used, and the one it hides is reported."""
    site.add("throw_a", REVERSE, "1.0", where="far")
    near = site.add("throw_a", REVERSE, "2.0", where="near")
    plugins = Plugins.probe()
    used, hidden = (row for row in plugins.records if row.name == "throw_a")
    assert (used.version, used.status, used.executors) == ("2.0", "ok", ("throw_reverse",))
    assert (hidden.version, hidden.status, hidden.executors) == ("1.0", "conflict", ())
    assert f"is hidden by dist-throw_a 2.0 in {near}" in hidden.reason


@pytest.mark.parametrize("first", ["checkout", "site"])
def test_editable_installation_seen_twice_is_no_conflict(site: Site, first: str) -> None:
    """Metadata in the checkout and in site-packages, even of two versions, are one installation."""
    places = ["site", "checkout"] if first == "checkout" else ["checkout", "site"]
    for where in places:  # what is added last comes first on the path
        folder = site.add("throw_a", REVERSE, "1.0" if where == "site" else "1.1", where=where)
        (info,) = folder.glob("*.dist-info")
        if where == "site":
            (info / "direct_url.json").write_text('{"url": "x", "dir_info": {"editable": true}}')
        else:
            info = info.rename(folder / "dist_throw_a.egg-info")
            (info / "METADATA").rename(info / "PKG-INFO")
    plugins = Plugins.probe()
    row = record(plugins, "throw_a")
    assert (row.status, row.reason) == ("ok", "")
    assert row.version == ("1.1" if first == "checkout" else "1.0")
    assert plugins.executor("throw_reverse").plugin == "throw_a"


def test_folder_twice_on_the_path_is_no_conflict(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same installation seen twice, even through a link, is one."""
    folder = site.add("throw_a", REVERSE)
    link = tmp_path / "link"
    link.symlink_to(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(link), prepend=os.pathsep)
    assert record(Plugins.probe(), "throw_a").status == "ok"


def test_records_do_not_depend_on_the_order_of_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same plugins give the same records, wherever they stand on the path."""
    folders = []
    for name in ("throw_b", "throw_a", "throw_c"):
        base = tmp_path / name
        base.mkdir()
        folders.append(str(install(base, name, REVERSE, distribution=f"dist-{name}", version="1")))
    results = []
    for order in (folders, folders[::-1]):
        with monkeypatch.context() as patch:
            for folder in order:
                patch.setenv("PYTHONPATH", folder, prepend=os.pathsep)
            results.append(Plugins.probe().records)
    assert results[0] == results[1]
    assert [row.name for row in results[0]] == sorted(row.name for row in results[0])


def test_executors_of_a_worker(site: Site) -> None:
    """A worker gets its executors by bare name, however they were asked for, and once each."""
    site.add("throw_a", REVERSE)
    chosen = Plugins.probe().executors(["echo", "throw_a:throw_reverse", "throw_reverse"])
    assert {name: executor.plugin for name, executor in chosen.items()} == {
        "echo": "echo",
        "throw_reverse": "throw_a",
    }


def test_worker_cannot_run_two_executors_of_one_name(site: Site) -> None:
    """A task says only the bare name, so one worker cannot tell two such executors apart."""
    site.add("throw_a", REVERSE)
    site.add("throw_b", REVERSE)
    with pytest.raises(BadConfiguration, match="'throw_a' and 'throw_b' were requested: start one"):
        Plugins.probe().executors(["throw_a:throw_reverse", "throw_b:throw_reverse"])


@pytest.mark.parametrize("asked", ["", ":", "a:b:c", "echo:", ":echo", "Echo", "ec ho", "echo\n"])
def test_nonsense_asked_for(asked: str) -> None:
    """What cannot name an executor is refused as such."""
    with pytest.raises(BadConfiguration):
        Plugins.probe().executor(asked)
