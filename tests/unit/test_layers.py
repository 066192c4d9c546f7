# SPDX-License-Identifier: Apache-2.0
"""The architecture, enforced: who may import whom, short files, and a licence on every one."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES = 400

# What each layer may import, of this project; the most particular name counts.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "xdpfw.model": ("xdpfw.model",),
    "xdpfw.clock": ("xdpfw.model",),
    "xdpfw.settings": ("xdpfw.model",),
    "xdpfw.policy": ("xdpfw.policy", "xdpfw.model", "xdpfw.clock"),
    "xdpfw.frames": ("xdpfw.frames", "xdpfw.model"),
    "xdpfw.stats": ("xdpfw.stats", "xdpfw.model", "xdpfw.clock", "xdpfw.kernel.port"),
    "xdpfw.kernel": ("xdpfw.kernel", "xdpfw.policy", "xdpfw.model", "xdpfw.clock"),
    "xdpfw.store": ("xdpfw.store", "xdpfw.policy", "xdpfw.model", "xdpfw.clock"),
    "xdpfw.daemon": ("xdpfw",),
    "xdpfw.without_daemon": ("xdpfw",),
    "xdpfw.life": ("xdpfw", "api"),
    "xdpfw.listening": ("xdpfw", "api"),
    "xdpfw": ("xdpfw",),
    "api": ("api", "xdpfw"),
    "cli": ("cli", "xdpfw"),
    "lab": ("lab", "xdpfw.model"),
}
# The service and its parts work on ports: never on what stands behind them.
ADAPTERS = (
    "xdpfw.kernel.adapter",
    "xdpfw.kernel.libbpf",
    "xdpfw.kernel.fake",
    "xdpfw.store.sqlite",
    "xdpfw.store.memory",
)
KERNEL_ONLY = ("bcc", "ctypes", "pyroute2")
EDGES_ONLY = ("fastapi", "pydantic", "starlette", "uvicorn")


def sources(*suffixes: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=True
    )
    paths = [ROOT / name.decode() for name in listed.stdout.split(b"\0") if name]
    return [path for path in paths if path.suffix in suffixes and path.exists()]


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    """Modules that a file imports, wherever in it; `from a import b` counts as a.b when that is a module."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                inner = ROOT.joinpath(*node.module.split("."), alias.name)
                yield (
                    f"{node.module}.{alias.name}"
                    if inner.is_dir() or inner.with_suffix(".py").exists()
                    else node.module
                )


def below(name: str, layers: tuple[str, ...]) -> str | None:
    """The longest of `layers` that is `name` or a package it lies in."""
    found = [layer for layer in layers if name == layer or name.startswith(layer + ".")]
    return max(found, key=len, default=None)


PYTHON = sources(".py")
LAYERED = [path for path in PYTHON if module(path).partition(".")[0] in ("xdpfw", "api", "cli", "lab")]


@pytest.mark.parametrize("path", LAYERED, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_only(path: Path) -> None:
    name = module(path)
    layer = below(name, tuple(MAY_IMPORT))
    assert layer is not None
    ours = [each for each in imports(path) if each.partition(".")[0] in ("xdpfw", "api", "cli", "lab", "tests")]
    forbidden = [each for each in ours if below(each, MAY_IMPORT[layer]) is None]
    if layer == "xdpfw":
        forbidden += [each for each in ours if below(each, ADAPTERS)]
    assert forbidden == []


@pytest.mark.parametrize("path", LAYERED, ids=lambda path: str(path.relative_to(ROOT)))
def test_kernel_interfaces_stay_in_the_kernel_package_and_the_web_at_the_edges(path: Path) -> None:
    name = module(path)
    tops = {each.partition(".")[0] for each in imports(path)}
    if below(name, ("xdpfw.kernel",)) is None:
        assert tops.isdisjoint(KERNEL_ONLY)
    if below(name, ("api",)) is None:
        assert tops.isdisjoint(EDGES_ONLY)


def test_layer_test_sees_the_files() -> None:
    assert {"xdpfw.model.prefix", "api.schemas", "cli.main", "xdpfw.kernel.port"} <= {module(path) for path in LAYERED}


@pytest.mark.parametrize(
    "path", sources(".py", ".c", ".h", ".js", ".css", ".html"), ids=lambda path: str(path.relative_to(ROOT))
)
def test_file_names_its_licence_and_is_short(path: Path) -> None:
    lines = path.read_text().splitlines()
    licence = "GPL-2.0-only" if path.parent.name == "bpf" else "Apache-2.0"
    first = lines[1] if path.suffix == ".html" else lines[0]  # before its doctype nothing may stand
    assert f"SPDX-License-Identifier: {licence}" in first
    assert len(lines) <= MOST_LINES


def test_scripts_name_their_licence() -> None:
    scripts = [path for path in [*(ROOT / "script").iterdir(), ROOT / ".ci" / "run"] if path.is_file()]
    assert len(scripts) >= 4
    for path in scripts:
        assert any("SPDX-License-Identifier: Apache-2.0" in line for line in path.read_text().splitlines()[:2]), path
