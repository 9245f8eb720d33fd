"""Finds the states of loaders in files that may come from anybody: JSON, and what torch saves. Nothing is unpickled."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pickle import UnpicklingError
from typing import IO, Any

from dalikit.errors import ArgumentError, StateError
from dalikit.state import LoaderState
from dalikit.taming import brief

__all__ = ["Found", "choose_state", "find_states", "read_checkpoint"]

_MOST_JSON = 256 << 20  # bytes; a state has some hundred, and 7 KB with a generator's state
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"  # what files of torch.save begin with, today's and those before 1.6
_NAMES = frozenset(known.name for known in fields(LoaderState))
_ENOUGH = 6  # of these keys make a dict a state, perhaps a damaged one
_SAVE = "json.dump(loader.state_dict(), file)"
_JOIN = "torch.distributed.checkpoint.format_utils.dcp_to_torch_save(FOLDER, FILE)"
_FORMS = [
    re.compile(form)
    for form in (r".*loader.*\.json", r"custom_checkpoint_\d+\.pkl", r".*\.ckpt", r".*\.pth?", r".*\.json")
]
"""Of names that candidates have: Accelerate's, Lightning's, torch's; likely ones first."""
_MOST_NAMES = 5


@dataclass(frozen=True, slots=True)
class Found:
    """A state, where it lies in a checkpoint."""

    path: str
    """As Python would write it from the top: loops.fit_loop.state_dict.combined_loader[0]; empty: the top itself."""
    state: Mapping[Any, Any]
    """As it was found, unchecked."""

    def read(self) -> LoaderState:
        """What it says.

        Raises:
            StateError: it is no state of this dalikit's loaders.
        """
        return LoaderState.from_dict(self.state)


def read_checkpoint(path: str) -> Any:
    """What is in a file: JSON, or what `torch.save` wrote, on the CPU and without its tensors being read.

    Args:
        path: of the file; "-": JSON from standard input.

    Raises:
        ArgumentError: there is no such file, it cannot be read, or it is a folder or a part of one.
        StateError: it is neither, or holds what only unpickling could read.
    """
    if path == "-":
        return _read_json(sys.stdin.buffer, "standard input")
    try:
        if os.path.isdir(path):
            raise ArgumentError(f"{path}: {_about_folder(path)}")
        if _is_shard(os.path.basename(path)) and os.path.exists(path):
            raise ArgumentError(f"{path}: is a part of {_about_shards(_candidates(os.path.dirname(path)))}")
        with open(path, "rb") as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            head = file.read(len(_ZIP)) if regular else b""
            if head == _ZIP or head[:1] == _PICKLE:
                return _read_torch(path, mapped=head == _ZIP)
            if regular:
                file.seek(0)
            return _read_json(file, path)
    except OSError as error:
        raise ArgumentError(f"{path}: cannot be read ({error.strerror or error}); give a file with a state") from None


def _about_folder(path: str) -> str:
    """What to give in place of a folder."""
    found = _candidates(path)
    if any(map(_is_shard, os.listdir(path))):
        return f"is {_about_shards(found)}"
    if not found:
        return "is a folder; give the file in it that holds the loader's state"
    return f"is a folder; give the file in it that holds the loader's state, perhaps {_some(found, 'or')}"


def _is_shard(name: str) -> bool:
    return name == ".metadata" or name.endswith(".distcp")


def _about_shards(beside: list[str]) -> str:
    told = f"give {_some(beside, 'or')}, or " if beside else ""
    return (
        "a distributed checkpoint of torch's, whose parts are not read here; "
        f"{told}make one file of it: {_JOIN}; or write the state beside it as JSON: {_SAVE}"
    )


def _candidates(folder: str) -> list[str]:
    """Files that may hold a loader's state, those first that mostly do."""
    names = [name for name in os.listdir(folder or ".") if os.path.isfile(os.path.join(folder, name))]
    ranked = sorted((rank, name) for name in names for rank, form in enumerate(_FORMS) if form.fullmatch(name))
    return [os.path.join(folder, name) for name in dict.fromkeys(name for _, name in ranked)]


def _some(names: list[str], conjunction: str) -> str:
    shown = [brief(name) for name in names[:_MOST_NAMES]]
    if len(names) > _MOST_NAMES:
        return f"{', '.join(shown)} and {len(names) - _MOST_NAMES:,} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} {conjunction} {shown[-1]}"


def _read_json(file: IO[bytes], name: str) -> Any:
    data = file.read(_MOST_JSON + 1)
    if len(data) > _MOST_JSON:
        raise StateError(f"{name}: has more than {_MOST_JSON:,} bytes, too many for JSON with a state; {_alone()}")
    if data[:1] == _PICKLE or data[: len(_ZIP)] == _ZIP:
        raise StateError(f"{name}: is no JSON; what torch.save wrote is read from a file")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else brief(str(error))
        raise StateError(f"{name}: is neither JSON ({reason}) nor what torch.save writes; {_alone()}") from None


def _read_torch(path: str, *, mapped: bool) -> Any:
    """With torch's own reader of tensors and plain objects, which calls nothing that a file names."""
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of how tensors were stored: they are not looked at
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except UnpicklingError as error:
        named = re.search(r"GLOBAL [\w.]+|Unsupported \w+ \w+", str(error))
        what = named[0] if named else "it is damaged"
        raise StateError(
            f"{path}: holds what only unpickling could read ({what}); that may run any code that the file "
            f"names, and is never done here; {_alone()}"
        ) from None
    except Exception as error:  # whatever a damaged file brings about
        reason = f"{type(error).__name__}: {brief(str(error))}"
        raise StateError(f"{path}: cannot be read as what torch.save writes ({reason}); {_alone()}") from None


def _alone() -> str:
    return f"save the loader's state by itself, as JSON: {_SAVE}"


def choose_state(tree: Any, name: str, at: str | None) -> Found:
    """The state in a checkpoint.

    Args:
        tree: what `read_checkpoint` gave.
        name: of the file, for messages.
        at: path of the state, or of what holds it alone; None: there is one, or all say the same.

    Raises:
        StateError: there is none.
        ArgumentError: there are several, or none at this path; they are listed.
    """
    pickled: list[str] = []
    found = list(find_states(tree, pickled))
    if not found:
        hint = f"; at {pickled[0]} there are pickled bytes, which are never unpickled here" if pickled else ""
        raise StateError(
            f"{name}: no state of a dalikit loader is in it{hint}; put loader.state_dict() into your checkpoint, or "
            f"{_alone()}"
        )
    chosen = found if at is None else [one for one in found if one.path == at] or _below(found, at)
    if not chosen:
        raise ArgumentError(f"--at {at}: there is no state; there are these: {_list(found)}")
    if len(chosen) > 1 and not _all_the_same(chosen):
        raise ArgumentError(f"{name}: has {len(chosen)} states; choose one by --at: {_list(chosen)}")
    return chosen[0]


def _below(found: list[Found], at: str) -> list[Found]:
    return [one for one in found if one.path.startswith((f"{at}.", f"{at}["))]


def _all_the_same(found: list[Found]) -> bool:
    """As the states that the ranks of a run save mostly are."""
    try:
        first, *others = (one.read() for one in found)
    except StateError:
        return False
    return first.extra is None and all(other == first for other in others)


def _list(found: list[Found]) -> str:
    paths = [one.path or "(the top)" for one in found]
    return ", ".join(paths[:20]) + (f" and {len(paths) - 20:,} more" if len(paths) > 20 else "")


def find_states(tree: Any, pickled: list[str] | None = None) -> Iterator[Found]:
    """All states in dicts and lists of any depth, and in JSON that lies in them as text or bytes, in their order.

    Args:
        tree: dicts, lists and anything else; may hold itself.
        pickled: gets the paths of bytes that are no JSON, but seem to be a pickled state.
    """
    seen: set[int] = set()
    left: list[tuple[str, Any]] = [("", tree)]
    kept: list[Any] = []  # what JSON gave: as long as it lives, its ids are its own
    while left:
        path, node = left.pop()
        if isinstance(node, str | bytes | bytearray):
            node = _parsed(node, path, pickled)
            kept.append(node)
        if not isinstance(node, Mapping | list | tuple) or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, Mapping) and len(_NAMES.intersection(node)) >= _ENOUGH:
            yield Found(path, node)
            continue
        parts = node.items() if isinstance(node, Mapping) else enumerate(node)
        left += [(_join(path, key), part) for key, part in parts if _worth_a_look(part)][::-1]


def _worth_a_look(part: Any) -> bool:
    if isinstance(part, str):
        return '"place"' in part
    if isinstance(part, bytes | bytearray):
        return b"place" in part
    return isinstance(part, Mapping | list | tuple)


def _parsed(text: str | bytes | bytearray, path: str, pickled: list[str] | None) -> Any:
    """JSON that may hold a state; None: it is none."""
    if pickled is not None and not isinstance(text, str) and text[:1] == _PICKLE and b"world_size" in text:
        pickled.append(path or "the top")
    start = text.lstrip()[:1]
    if len(text) > _MOST_JSON or start not in ("{", "[", b"{", b"["):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _join(path: str, key: Any) -> str:
    if isinstance(key, str) and re.fullmatch(r"[\w/~-]{1,80}", key):
        return f"{path}.{key}" if path else key
    if isinstance(key, str | float | None) or (isinstance(key, int) and key.bit_length() <= 64):
        return f"{path}[{key!r:.80}]"
    return f"{path}[<{type(key).__name__}>]"
