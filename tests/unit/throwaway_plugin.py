"""Plugins made for one test: a module and what pip would have written beside it, nothing more."""

from __future__ import annotations

from pathlib import Path


def install(
    tmp_path: Path,
    name: str,
    module_source: str,
    *,
    distribution: str,
    version: str,
) -> Path:
    """Write module `name` and the metadata of its distribution, with an entry point of that name.

    Returns the folder to put on `sys.path` or PYTHONPATH; it is the same for every `tmp_path`.
    """
    folder = tmp_path / "site"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(module_source, encoding="utf-8")
    info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n", encoding="utf-8"
    )
    (info / "entry_points.txt").write_text(f"[masterworker]\n{name} = {name}\n", encoding="utf-8")
    return folder
