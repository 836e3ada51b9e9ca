"""The arrows between the packages, kept."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "shards": set(),
    "datagen": {"shards"},
    "filters": {"shards"},
    "train": {"shards"},
    "recipes": {"shards", "datagen", "filters", "train"},
}
RAY = {"shards/ray_executor.py", "train/launch.py"}


def modules() -> Iterator[Path]:
    for package in MAY_IMPORT:
        yield from sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Top-level names that a module imports anywhere in it, lazily too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found


@pytest.mark.parametrize("path", list(modules()), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_package_imports_only_what_lies_before_it_on_the_line(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    ours = imported(path) & set(MAY_IMPORT)
    assert ours <= MAY_IMPORT[package] | {package}


def test_ray_is_imported_in_two_files_and_vllm_in_none() -> None:
    users = {str(path.relative_to(ROOT)) for path in modules() if "ray" in imported(path)}
    assert users <= RAY
    assert not [path for path in modules() if "vllm" in imported(path)]


def test_every_file_has_room_to_be_read() -> None:
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in modules()}
    assert not {name: lines for name, lines in long.items() if lines > 400}
