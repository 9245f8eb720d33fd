"""What a worker process does before it reads: `worker_packages`, `worker_globals`, `worker_init_fn`."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pickle
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

from dalikit.errors import ArgumentError

__all__ = ["Startup", "make_startup"]


@dataclass(frozen=True, slots=True)
class Startup:
    """What a worker process does before it reads. Made by `make_startup`."""

    worker_init_fn: Callable[[int], Any] | None = None
    """The user's, called with the worker's id: 0 to num_workers - 1."""
    worker_globals: bytes | None = None
    """A pickled dict of names and objects."""
    worker_packages: tuple[str, ...] = ()
    """Modules."""

    def prepare(self, worker_id: int) -> None:
        """Imports the packages, in order, then places the globals in the main module. To be called in the worker.

        Raises:
            ImportError: a package cannot be imported. It is named.
        """
        for name in self.worker_packages:
            try:
                importlib.import_module(name)
            except Exception as error:
                raise ImportError(
                    f"worker_packages: {name!r} could not be imported in worker process {worker_id}: "
                    f"{type(error).__name__}: {error}",
                    name=name,
                ) from error
        if self.worker_globals is not None:
            placed = pickle.loads(self.worker_globals)
            for scope in _main_scopes():
                scope.update(placed)


def _main_scopes() -> list[dict[str, Any]]:
    """The globals of the main module, and those that its functions see: not the same in a process that was spawned,
    where multiprocessing runs the user's script and makes a module of a copy of its globals.
    """
    main = sys.modules["__main__"]
    scopes = {id(vars(main)): vars(main)}
    for value in tuple(vars(main).values()):
        for member in (value, *vars(value).values()) if isinstance(value, type) else (value,):
            scope = getattr(inspect.unwrap(getattr(member, "__func__", member)), "__globals__", None)
            if scope is not None and scope.get("__name__") == main.__name__:
                scopes[id(scope)] = scope
    return list(scopes.values())


def make_startup(
    worker_init_fn: Callable[[int], Any] | None = None,
    worker_globals: Mapping[str, Any] | list[str] | tuple[str, ...] | str | None = None,
    worker_packages: list[str] | tuple[str, ...] | str | None = None,
) -> Startup:
    """Checks the three arguments, and copies the globals: what is done to those objects later on no worker sees.

    Args:
        worker_init_fn: called in each worker with its id, from 0.
        worker_globals: objects that each worker gets as globals of its main module: a dict of names and objects; or
            names of what is to be looked up now, in the globals of the nearest module outside dalikit that led here,
            then in those of `__main__`. They must pickle, however the workers are started.
        worker_packages: modules that each worker imports.

    Raises:
        ArgumentError: a module is not installed; a name is not found; an object does not pickle; or an argument is of
            another type.
    """
    if worker_init_fn is not None and not callable(worker_init_fn):
        raise ArgumentError(
            f"worker_init_fn={worker_init_fn!r}: must be a function of one argument, the worker's id, or None"
        )
    return Startup(worker_init_fn, _pickle_globals(worker_globals), _check_packages(worker_packages))


def _names(argument: str, value: Any, what: str) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ArgumentError(f"{argument}={value!r}: must be {what}")
    return tuple(names)


# Packages


def _check_packages(packages: Any) -> tuple[str, ...]:
    if packages is None:
        return ()
    names = _names("worker_packages", packages, "a list of the names of modules, one name, or None")
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")):
            raise ArgumentError(f"worker_packages names {name!r}: must be the full name of a module, as in 'numpy.fft'")
        top = name.partition(".")[0]
        if not _is_installed(top):
            raise ArgumentError(
                f"worker_packages names {name!r}, but there is no module {top!r} to import; install it, or leave it out"
            )
    return names


def _is_installed(top: str) -> bool:
    """Whether a top-level module can be found. Imports nothing."""
    try:
        return importlib.util.find_spec(top) is not None
    except ValueError:  # a module that is loaded and has no spec, as `__main__`
        return top in sys.modules


# Globals


def _pickle_globals(given: Any) -> bytes | None:
    if given is None:
        return None
    found = dict(given) if isinstance(given, Mapping) else _look_up(given)
    for name in found:
        if not isinstance(name, str) or not name.isidentifier():
            raise ArgumentError(f"worker_globals names {name!r}: must be a name that code can use")
    try:
        return pickle.dumps(found, pickle.HIGHEST_PROTOCOL)  # together, so that what they share stays shared
    except Exception as error:
        raise _unpicklable(found, error) from error


def _unpicklable(found: dict[str, Any], error: Exception) -> ArgumentError:
    """Which of them it was."""
    for name, value in found.items():
        try:
            pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        except Exception as own:
            return ArgumentError(
                f"worker_globals: {name!r}, of type {type(value).__name__}, cannot be sent to worker processes: "
                f"{type(own).__name__}: {own}; make it picklable, or make it in worker_init_fn"
            )
    return ArgumentError(f"worker_globals cannot be sent to worker processes: {type(error).__name__}: {error}")


def _look_up(given: Any) -> dict[str, Any]:
    """The objects that names stand for, in the nearest module outside dalikit on the way here, or in `__main__`."""
    names = _names("worker_globals", given, "a dict of names and objects, a list of names, one name, or None")
    caller = _caller()
    where = vars(sys.modules["__main__"]) if caller is None else caller.f_globals
    found = {}
    for name in names:
        for scope in (where, vars(sys.modules["__main__"])):
            if name in scope:
                found[name] = scope[name]
                break
        else:
            raise ArgumentError(
                f"worker_globals names {name!r}, which is neither a global of module {where.get('__name__')!r}, where "
                f"the loader is made, nor of '__main__'; define it there, or give a dict: {{{name!r}: ...}}"
            )
    return found


def _caller() -> FrameType | None:
    """The nearest frame whose code is not dalikit's."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "dalikit":
        frame = frame.f_back
    return frame
