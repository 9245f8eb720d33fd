"""What a loader decided about its dataset: the same in its process and in its workers."""

from __future__ import annotations

from typing import Any

from dalikit.datasets.adapters.certain import adapt
from dalikit.datasets.adapters.torchvision import TorchvisionFiles
from dalikit.datasets.wrapped import unwrap
from dalikit.errors import ArgumentError

__all__ = ["Adaptation"]


class Adaptation:
    """`adapt` for a certain loader. Decides once, in `source_of`; goes to workers with the dataset, in one pickle.

    Args:
        transform: whether the loader has a transform of its own.
        collate_fn: whether the user gave one.
        batched: whether items are put together to batches.
    """

    def __init__(self, *, transform: bool, collate_fn: bool, batched: bool) -> None:
        self._arguments = {"transform": transform, "collate_fn": collate_fn, "batched": batched}
        self._views: dict[int, TorchvisionFiles] = {}  # by the identity of the dataset, which the view holds

    def __getstate__(self) -> dict[str, Any]:
        """Identities are of this process."""
        return {**vars(self), "_views": list(self._views.values())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _views={id(view.dataset): view for view in state["_views"]})

    def source_of(self, dataset: Any) -> Any:
        """The dataset of encoded images that the loader reads, also through Subset and ConcatDataset; else `dataset`.

        Raises:
            ArgumentError: what `unwrap` raises.
        """
        source = unwrap(dataset, self._adapt)
        if source is dataset:  # all or nothing
            self._views.clear()
        return source

    def _adapt(self, dataset: Any) -> Any:
        view = adapt(dataset, **self._arguments)
        if view is not dataset:
            self._views[id(dataset)] = view
        return view

    def __call__(self, dataset: Any) -> Any:
        """What `source_of` took a dataset for, which may have been changed since: by `worker_init_fn`, say.

        Raises:
            ArgumentError: it cannot be taken for that any more.
        """
        if not self._views:
            return dataset
        view = self._views.get(id(dataset))
        change = "its dataset is another one" if view is None else view.change
        if view is not None and change is None:
            return view
        again = adapt(dataset, **self._arguments)
        transform = next(iter(self._views.values())).transform  # they agree
        if again is dataset or not (again.transform is transform or again.transform == transform):
            raise ArgumentError(
                f"{change}, in a worker process (by worker_init_fn?) or while the loader was starting: it decodes the "
                "images and carries out the transform itself, as the dataset was when the loader was made. Set it "
                "before the loader is made"
            )
        return again

    def check_unchanged(self) -> None:
        """Raises ArgumentError if a dataset was changed where the views cannot see it."""
        for view in self._views.values():
            view.check_unchanged()
