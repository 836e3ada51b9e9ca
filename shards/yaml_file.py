"""YAML that people write: recipes, and values on a command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml


class YamlError(ValueError):
    """Text that is no YAML: in which line, and the way out where it is known."""


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, but `1e-4` is a number and a repeated key is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(getattr(key, "value", key))
            if name in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"expected {name!r} once, got it twice", key.start_mark
                )
            seen.add(name)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


def read_yaml(path: Path, what: str) -> object:
    """The value of a file.

    Args:
        path: of the file.
        what: is expected there, for the messages.

    Raises:
        YamlError: there is no such file, or it is no YAML in UTF-8.
    """
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise YamlError(f"{path}: expected {what}, got no file; {_known(path.parent)}") from error
    except IsADirectoryError as error:
        raise YamlError(f"{path}: expected {what}, got a folder; {_known(path)}") from error
    except UnicodeDecodeError as error:
        words = f"expected text in UTF-8, got byte {error.object[error.start]:#04x} at {error.start}"
        raise YamlError(f"{path}: {words}; save it as UTF-8") from error
    except (OSError, YamlError) as error:
        raise YamlError(f"{path}: expected {what} in YAML, got: {error}") from error


def _known(folder: Path) -> str:
    found = sorted(str(found) for found in folder.glob("*.yaml")) if folder.is_dir() else []
    return f"there are {', '.join(found)}" if found else f"there is no .yaml in {folder}"


def parse_yaml(text: str) -> object:
    """The value of a text.

    >>> parse_yaml("{lr: 1e-4}")
    {'lr': 0.0001}

    Raises:
        YamlError: it is no YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506, a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        way_out = "; indent by spaces" if "'\\t'" in (error.problem or "") else ""
        raise YamlError(f"{place}{error.problem}{way_out}") from error
    except RecursionError as error:
        raise YamlError("values nested too deeply") from error
    except (ValueError, yaml.YAMLError) as error:
        raise YamlError(str(error)) from error
