"""Experiment scripts as modules: a file with one function that makes what is to be run."""

import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raystudy.errors import RaystudyError, SpecError


def load_function(path: Path, name: str, returns: str) -> Callable[..., Any]:
    """The function ``name(preset)`` of the script at ``path``; the script runs once, as on import.

    Args:
        path: a Python file.
        name: of the function.
        returns: what it makes, for people.

    Raises:
        SpecError: there is no such script or function, or it fails.
    """
    if not path.is_file():
        raise SpecError(f"there is no script {path}; see experiments/README.md for those that there are")
    specification = importlib.util.spec_from_file_location(path.stem, path)
    if specification is None or specification.loader is None:
        raise SpecError(f"{path} is no Python script")
    module = importlib.util.module_from_spec(specification)
    sys.modules[path.stem] = module
    try:
        specification.loader.exec_module(module)
    except RaystudyError:
        raise
    except Exception as error:  # whatever is wrong with a script of the user's
        raise SpecError(f"{path}{_line_of(error, path)} fails with {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise SpecError(f"{path} has no function `{name}(preset)` that returns a {returns}")
    return function  # type: ignore[no-any-return]


def _line_of(error: Exception, path: Path) -> str:
    """Where in the script it went wrong, if it was there."""
    if isinstance(error, SyntaxError):
        return f", line {error.lineno},"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    return f", line {lines[-1]}," if lines else ""
