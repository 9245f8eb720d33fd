"""The house: imports go only downwards, DALI has one door, and importing dalikit is cheap."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dalikit

ROOT = Path(dalikit.__file__).parent.parent

FLOORS = {
    "dalikit.errors": 0,
    "dalikit.progress": 0,
    "dalikit.storage": 0,
    "dalikit.distributed": 0,
    "dalikit.cores": 0,
    "dalikit.agreement": 0,
    "dalikit.workers": 0,
    "dalikit.codec": 0,
    "dalikit.by_pillow": 0,
    "dalikit.memory": 0,
    "dalikit.threads": 0,
    "dalikit.ending": 0,
    "dalikit.own_stacks": 0,
    "dalikit.callables": 0,
    "dalikit.generator_states": 0,
    "dalikit.samples": 0,
    "dalikit.items": 0,
    "dalikit.signatures": 0,
    "dalikit.datasets": 1,
    "dalikit.shards": 1,
    "dalikit.exclusion": 2,
    "dalikit.repair": 2,
    "dalikit.checking": 4,
    "dalikit.transforms": 1,
    "samplers": 1,
    "dalikit.fetch": 2,
    "dalikit.processes": 2,
    "dalikit.graph": 2,
    "dalikit.host": 2,
    "dalikit.engine": 2,
    "dalikit.stream": 2,
    "dalikit.collate": 2,
    "dalikit.mixing": 2,
    "dalikit.masking": 2,
    "dalikit.dino": 2,
    "dalikit.options": 2,
    "dalikit.taming": 0,
    "dalikit.state": 2,
    "dalikit.orders": 3,
    "dalikit.arguments": 3,
    "dalikit.checkpoint": 3,
    "dalikit.delivery": 3,
    "dalikit.pipe": 3,
    "dalikit.supply": 3,
    "dalikit.iteration": 3,
    "dalikit.dataloader": 3,
    "dalikit.forecast": 3,
    "dalikit.loaders": 4,
    "dalikit.bench": 5,
    "dalikit.cli": 5,
}
"""Rooms may import what is on their own floor or below."""

UNKNOWN_TO = {
    "samplers": {"dalikit"},
    "dalikit.fetch": {"samplers", "nvidia.dali", "dalikit.processes"},
    "dalikit.processes": {"samplers", "nvidia.dali"},
    "dalikit.graph": {"samplers", "dalikit.storage", "dalikit.datasets"},
    "dalikit.transforms": {"nvidia", "torch", "samplers"},
    "dalikit.storage": {"torch", "nvidia"},
    "dalikit.datasets": {"torch", "nvidia"},
    "dalikit.shards": {"torch", "nvidia", "dalikit.datasets"},
}
"""What a room must not import, wherever it stands."""

DALI_DOORS = {"dalikit.graph", "dalikit.engine", "dalikit.bench"}
NVIMGCODEC_DOORS = {"dalikit.codec"}


def modules() -> list[tuple[str, Path]]:
    """Name and file of every module of both packages."""
    found = []
    for package in ("dalikit", "samplers"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return found


def imports(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it but under TYPE_CHECKING."""
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def room(module: str) -> str | None:
    """The room a module is in; None for the top of dalikit."""
    names = [name for name in FLOORS if module == name or module.startswith(name + ".")]
    return max(names, key=len) if names else None


def within(module: str, package: str) -> bool:
    """Whether a module is a package or inside it."""
    return module == package or module.startswith(package + ".")


def test_every_module_has_a_room() -> None:
    """A new room is written into FLOORS on purpose."""
    homeless = [name for name, _ in modules() if room(name) is None and name not in ("dalikit", "dalikit.__main__")]
    assert homeless == []


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_go_only_downwards(module: str, path: Path) -> None:
    """Nobody imports a room on a floor above."""
    mine = room(module)
    if mine is None:
        pytest.skip("the top of dalikit only re-exports")
    for imported in imports(path):
        theirs = room(imported)
        assert theirs is None or FLOORS[theirs] <= FLOORS[mine], f"{module} imports {imported}, which is above it"
        for unknown in UNKNOWN_TO.get(mine, set()):
            assert not within(imported, unknown), f"{module} must not know {unknown}, but imports {imported}"


def test_dali_has_one_door() -> None:
    """nvidia.dali is imported by graph (and the benchmark's peer) alone; nvImageCodec by codec alone."""
    for module, path in modules():
        for imported in imports(path):
            if within(imported, "nvidia.dali"):
                assert room(module) in DALI_DOORS, f"{module} imports {imported}"
            if within(imported, "nvidia.nvimgcodec"):
                assert room(module) in NVIMGCODEC_DOORS, f"{module} imports {imported}"


def loaded_by(statement: str) -> set[str]:
    """The heavy packages that a statement loads, in a fresh interpreter."""
    script = (
        f"import sys\n{statement}\nprint(*[n for n in ('torch', 'numpy', 'nvidia.dali', 'PIL') if n in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return set(result.stdout.split())


def test_importing_dalikit_is_cheap() -> None:
    """`import dalikit` loads neither DALI, torch nor numpy."""
    assert loaded_by("import dalikit") == set()


def test_importing_samplers_loads_no_torch() -> None:
    """The samplers ask torch for an order only when one is drawn."""
    assert loaded_by("import samplers") <= {"numpy"}


def test_transforms_and_datasets_load_no_torch() -> None:
    """Describing work is cheap; only doing it needs torch and DALI."""
    assert loaded_by("import dalikit.transforms, dalikit.datasets") <= {"numpy", "PIL"}


def test_make_dataset_loads_no_dali(tmp_path: Path) -> None:
    """Opening a dataset needs no DALI."""
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "image.jpg").write_bytes(b"x")
    assert "nvidia.dali" not in loaded_by(
        f"from dalikit import make_dataset\nmake_dataset(dataset_str='ImageFolder:root={tmp_path}')"
    )


def test_the_host_executor_loads_no_dali_graph(tmp_path: Path) -> None:
    """On a CPU the loader runs on nvImageCodec and torch alone."""
    code = (
        "from dalikit.cli.photographs import make_photographs; from pathlib import Path; import dalikit;"
        f"root = make_photographs(Path({str(tmp_path)!r}), 3);"
        "import dalikit.transforms as T;"
        "ds = dalikit.make_dataset(dataset_str=f'ImageFolder:root={root}', transform=T.CenterCrop(8));"
        "loader = dalikit.DataLoader(ds, device='cpu', executor='host'); next(iter(loader)); loader.close()"
    )
    assert "nvidia.dali" not in loaded_by(code)


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_all_is_true(module: str, path: Path) -> None:
    """Every module says what is public (ruff keeps it sorted); what it says is there."""
    if module == "dalikit.__main__":
        pytest.skip("runs the program")
    loaded = __import__(module, fromlist=["__all__"])
    assert loaded.__all__, path
    for name in loaded.__all__:
        assert hasattr(loaded, name), f"{module}.{name}"


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As for any module."""
    with pytest.raises(AttributeError, match="module 'dalikit' has no attribute 'make_dataloader'"):
        dalikit.make_dataloader  # noqa: B018
