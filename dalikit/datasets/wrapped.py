"""torch's Subset and ConcatDataset around datasets of encoded images, seen as such datasets themselves."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from dalikit.datasets.views import ConcatView, SubsetView, has_images, view_class
from dalikit.errors import ArgumentError

__all__ = ["Adapt", "unwrap"]

_Rows = npt.NDArray[np.int64]


Adapt = Callable[[Any], Any]
"""Gives a dataset of encoded images in place of one that can be seen as such; else its argument."""


def unwrap(dataset: Any, adapt: Adapt | None = None) -> Any:
    """A dataset of encoded images in place of a Subset or ConcatDataset of such datasets; else `dataset` itself.

    torch's wrappers know only `__getitem__`, which gives images decoded by Pillow. The view has `get_image_data`,
    `get_target` and `len` for the same rows, and of `get_location`, `get_batch`, `get_key` and `image_size` those that
    all datasets inside have. Wrappers may be nested in any way, and what `random_split` returns is a Subset. A subclass
    that overrides `__getitem__`, `__getitems__` or `__len__` is left alone: only it knows what it does; so is one that
    has `get_image_data` already, and a ConcatDataset in which not all are datasets of encoded images.

    The view pickles if the datasets do. It holds the rows as they were when it was made: 8 bytes each, int64; changes
    of a Subset's `indices` later on are not seen. Negative indices count from the end, as in a list.

    * `transform`: that of the datasets inside. A ConcatDataset's must be equal: asked for the transform of others, the
      view raises ArgumentError (a loader that was given one does not ask).
    * `target_transform`: that of the datasets inside. Where a ConcatDataset's differ, each part's goes to its rows.
    * `fingerprint`: a hash of the rows and of the fingerprints inside; a dataset that has none counts by its class and
      length.
    * `get_key`: the name inside; in a ConcatDataset behind the number of the part: "1/cat/001.jpg".

    Args:
        dataset: anything.
        adapt: what else counts as a dataset of encoded images. Not if the parts of a ConcatDataset then had transforms
            that disagree: item by item each has its own. None: nothing else.

    Raises:
        ArgumentError: `indices` of a Subset are booleans, or beyond the end of its dataset.
    """
    view = _view(dataset, _as_it_is)
    if adapt is None or has_images(view):
        return view
    view = _view(dataset, adapt)
    try:
        view.transform  # noqa: B018 - it may not have one for all
    except ArgumentError:
        return dataset
    except AttributeError:
        pass
    return view


def _as_it_is(dataset: Any) -> Any:
    return dataset


def _view(dataset: Any, adapt: Adapt) -> Any:
    torch_data: Any = sys.modules.get("torch.utils.data")  # nobody has made a wrapper before that was imported
    if torch_data is None or hasattr(type(dataset), "get_image_data"):  # of its own, not one it hands on
        return dataset
    if _behaves_as(dataset, torch_data.Subset, "__getitem__", "__getitems__", "__len__"):
        return _view_of_subset(dataset, adapt)
    if _behaves_as(dataset, torch_data.ConcatDataset, "__getitem__", "__len__") and not hasattr(
        dataset, "__getitems__"
    ):
        parts = [_view(part, adapt) for part in dataset.datasets]
        if all(has_images(part) for part in parts):
            return view_class(ConcatView, tuple(parts))(parts, list(dataset.cumulative_sizes))
        return dataset
    return adapt(dataset)


def _behaves_as(dataset: Any, wrapper: type, *methods: str) -> bool:
    """Whether it is a wrapper of torch's, whose methods nobody has overridden."""
    return isinstance(dataset, wrapper) and all(
        getattr(type(dataset), name) is getattr(wrapper, name) for name in methods
    )


def _view_of_subset(subset: Any, adapt: Adapt) -> Any:
    """The Subset itself, if there is nothing to see in it."""
    inner = _view(subset.dataset, adapt)
    if not has_images(inner):
        return subset
    rows = _as_rows(subset.indices, len(inner), type(inner).__name__)
    if rows is None:
        return subset
    if isinstance(inner, SubsetView):  # one step instead of two, and the same fingerprint however it was cut
        inner, rows = inner.dataset, inner.rows[rows]
    return view_class(SubsetView, (inner,))(inner, rows)


def _as_rows(indices: Any, count: int, name: str) -> _Rows | None:
    """Rows of a dataset of `count`, each from 0 on; None: they are not rows."""
    values = _as_array(indices)
    if values.dtype == np.bool_:
        raise ArgumentError(
            "Subset: indices are booleans; a Subset takes the numbers of its rows, as torch.nonzero(mask)[:, 0] gives"
        )
    if values.size == 0:
        return np.empty(0, dtype=np.int64)
    if values.ndim != 1 or values.dtype.kind not in "iu":
        return None
    beyond = (values < -count) | (values >= count)
    if beyond.any():
        first = int(beyond.argmax())
        raise ArgumentError(
            f"Subset: indices[{first}] = {values[first]} is out of range for {name} of {count} samples; "
            f"allowed are {-count} to {count - 1}"
        )
    rows = values.astype(np.int64)  # a copy in any case: the caller's may change
    rows[rows < 0] += count
    rows.flags.writeable = False
    return rows


def _as_array(indices: Any) -> npt.NDArray[Any]:
    torch: Any = sys.modules["torch"]
    if isinstance(indices, torch.Tensor):
        return cast("npt.NDArray[Any]", indices.detach().cpu().numpy())
    if not isinstance(indices, list | tuple | range | np.ndarray):  # pandas' Series, say, has its own idea of [i]
        indices = [indices[place] for place in range(len(indices))]
    try:
        return np.asarray(indices)
    except (ValueError, OverflowError):  # ragged, or beyond 64 bits
        return np.empty(1, dtype=object)
