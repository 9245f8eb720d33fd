"""DataLoader: joins sampler, dataset, transform and engine; iteration, length, state."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from types import GenericAlias
from typing import Any, Unpack

import torch
from torch.utils.data import BatchSampler

from dalikit.arguments import (
    check_callable,
    check_dataset,
    check_shuffle,
    check_timeout,
    check_torch_arguments,
    describe,
    draw_seed,
    transform_of,
)
from dalikit.checkpoint import Checkpointer
from dalikit.datasets.adapters import Adaptation
from dalikit.datasets.base import declares_images
from dalikit.delivery import Delivery
from dalikit.errors import ArgumentError
from dalikit.exclusion import make_exclusion
from dalikit.fetch import HostFunction, ReadTask, Request
from dalikit.iteration import BatchIterator
from dalikit.options import (
    MAX_EPOCH,
    LoaderOptions,
    OptionArguments,
    check_bool,
    check_integer,
    check_seed,
    make_options,
)
from dalikit.orders import IterableOrder, OwnOrder, Progress, SamplerOrder, choose_order
from dalikit.pipe import Pipe
from dalikit.processes import make_startup
from dalikit.repair import Mender, Quarantine
from dalikit.supply import Plan, Supply, check_context
from dalikit.transforms.compiler import compile_recipe
from dalikit.transforms.recipe import Recipe
from samplers import Sampler

__all__ = ["DataLoader"]

_LOG = logging.getLogger("dalikit")

_FIXED = frozenset(
    {"batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers"}  # torch's too
    | {"num_workers", "prefetch_factor", "multiprocessing_context", "generator", "in_order", "seed", "options"}
    | OptionArguments.__annotations__.keys()
)
"""Attributes that cannot be set once a loader is made, as that would have no effect."""

_OF_THE_PROCESS = ("_latest", "_loaded", "_supply", "_opening", "_finalizer", "_plan")
"""What a loader does not pickle: the copy opens anew."""


class DataLoader:
    """Batches of a dataset, decoded and augmented, as tensors on the device.

    The arguments up to `worker_packages` are those of R torch's `dataloader`, which are torch's and two more; then come
    torch's other ones, then dalikit's own as keywords (`dalikit.options.LoaderOptions` says what they mean).

    What an item of the dataset is, the first batch that is read tells:

    * an encoded image: `get_image_data(index)` and `get_target(index)`, as dalikit's and DINOv2's datasets have them;
      or, among what `__getitem__` or an iterable dataset gives, bytes (or 1-D uint8) that begin as an image file does;
    * a decoded image, if the loader is given a `transform`: a PIL image, a uint8 array (H, W, 3), a uint8 tensor
      (3, H, W); gray ones too;
    * anything else: it is collated as torch does, by `collate_fn` if there is one, and its tensors go to the device.

    An item with an image is a tuple, list, named tuple or dict, of any depth, and the batch has the same form: the
    images in the image's place, the rest collated by torch's `default_collate`.

    Args:
        dataset: with `get_image_data`, `get_target` and `len`; or with `__getitem__` (and `__getitems__`, which is then
            called with all indices of a batch; of the former kind `get_batch`); or a torch IterableDataset, such as
            webdataset's pipelines. torch's Subset and ConcatDataset of the first kind are of the first kind, and so are
            torchvision's datasets of image files where that is certain to give the same (docs/adapters.md).
        batch_size: samples a batch. None: an item is a batch already, as in torch.
        shuffle: draw a new order each pass: from the seed, or from `generator`, then torch's order for it. Not together
            with `sampler`.
        sampler: which sample comes next: one of the package `samplers`, or any iterable of indices. Those of others
            are advanced on your thread, some batches ahead.
        batch_sampler: an iterable of lists of indices. Not together with batch_size, shuffle, sampler and drop_last.
        num_workers: processes that read batches, several at a time. 0: datasets with `get_image_data` are read by
            threads of this process, which is fast; others by your own thread, as in torch. Decoding and augmentation
            are never done there, but for functions of yours.
        collate_fn: makes a batch of the list of its samples. If they hold images, it runs on your thread, and gets the
            items as the dataset gives them, with tensors on the device, not copied, in the images' place. If they do
            not, it runs where the batch is read, as in torch. None: `(images, targets)`, as above.
        pin_memory: whether tensors that stay on the CPU are pinned, and custom types by their own `pin_memory()`. What
            goes to the device is pinned on its way anyway.
        drop_last: leave out the last batch of a pass if it is short.
        timeout: seconds to wait for a batch (R torch: milliseconds); 0 or less: as long as it takes. What is read on
            your own thread (see `num_workers`) cannot time out.
        worker_init_fn: called in each worker process with its id, 0 to num_workers - 1 as in torch (R torch counts from
            1), before the dataset arrives there.
        worker_globals: what is put into the globals of each worker's main module: a dict, or a list of names, looked up
            in the globals of the caller, then of `__main__`, when the loader is made. Pickled then, in every context.
        worker_packages: names of modules that are imported in each worker before anything else.
        persistent_workers: keep the worker processes from one pass to the next.
        prefetch_factor: batches in hand for each worker process; None: 2, as in torch.
        multiprocessing_context: how worker processes are started: "fork", "forkserver", "spawn", or a context; None: as
            Python does by default.
        generator: a torch.Generator: with `shuffle=True`, the order is torch's for it, pass after pass.
        pin_memory_device: accepted for torch's sake, without effect, as there.
        in_order: accepted for torch's sake: the order is the sampler's, always.
        seed: key of all randomness, 0 to 2**63 - 1. None: drawn once from torch's generator (from a copy of `generator`
            if there is one) when the loader is made, so `torch.manual_seed` decides it; a loaded state brings its own.
            With a sampler of `samplers` that is shared out to several ranks, None is the sampler's seed, on which the
            ranks agree.
        **options: transform, encoded, device, dtype, channels_last, executor, resize, num_threads, prefetch_batches,
            rank, world_size, on_error, max_errors, quarantine, truncated, max_pixels, max_encoded_bytes, exclude,
            return_parameters.

    Raises:
        ArgumentError: an argument is out of range or contradicts another.
        DeviceError: the device is not there.
    """

    _latest: weakref.ref[BatchIterator] | None
    """The iteration that began last."""
    _loaded: bool
    """Whether a state was loaded since."""
    _supply: Supply | None
    _plan: Plan | None
    _opening: threading.Lock
    _finalizer: weakref.finalize[Any, Any] | None

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = False,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = -1,
        worker_init_fn: Callable[[int], None] | None = None,
        worker_globals: Any = None,
        worker_packages: Any = None,
        *,
        persistent_workers: bool = False,
        prefetch_factor: int | None = None,
        multiprocessing_context: Any = None,
        generator: torch.Generator | None = None,
        pin_memory_device: str = "",
        in_order: bool = True,
        seed: int | None = None,
        **options: Unpack[OptionArguments],
    ) -> None:
        self.pin_memory_device, self.in_order = pin_memory_device, in_order
        self.dataset = check_dataset(dataset)
        self._collate_fn = check_callable("collate_fn", collate_fn)
        self.worker_init_fn = check_callable("worker_init_fn", worker_init_fn)
        self.pin_memory = check_bool("pin_memory", pin_memory)
        self._timeout = check_timeout(timeout)
        self.timeout: float = max(timeout, 0)  # torch's form: 0 for none
        self.generator = generator
        checked = check_torch_arguments(
            dataset,
            batch_size=batch_size,
            shuffle=check_shuffle(shuffle),
            sampler=sampler,
            batch_sampler=batch_sampler,
            num_workers=num_workers,
            collate_fn=collate_fn,
            drop_last=drop_last,
            multiprocessing_context=multiprocessing_context,
            generator=generator,
            prefetch_factor=prefetch_factor,
            persistent_workers=persistent_workers,
        )
        self.num_workers: int = checked.num_workers
        self.prefetch_factor, self.persistent_workers = checked.prefetch_factor, checked.persistent_workers
        self.multiprocessing_context = checked.multiprocessing_context
        self.batch_size, self.drop_last, self.collate_fn = checked.batch_size, checked.drop_last, checked.collate_fn
        self.options: LoaderOptions = make_options(options)
        self._adapt = Adaptation(
            transform=self.options.transform is not None,
            collate_fn=collate_fn is not None,
            batched=batch_size is not None or batch_sampler is not None,
        )
        self._source = self._adapt.source_of(dataset)
        self._context = check_context(self._source, self.multiprocessing_context, self.num_workers)
        transform = transform_of(self._source, self.options.transform)
        self._transformed = transform is not None
        self._recipe: Recipe = compile_recipe(transform)
        self._exclusion = make_exclusion(self.options.exclude, self._source)
        self._delivery = self._make_delivery()
        self._startup = make_startup(worker_init_fn, worker_globals, worker_packages)
        # The ranks of a shared sampler must agree on the key, and would draw one each.
        shared_seed = sampler.seed if isinstance(sampler, Sampler) and sampler.step > 1 else None
        if seed is None and shared_seed is None:
            self.seed = draw_seed(generator)
        else:
            self.seed = check_seed(shared_seed if seed is None else seed)
        self._order = choose_order(
            checked,
            sampler,
            seed=self.seed,
            generator=generator,
            rank=self.options.rank or 0,
            world_size=self.options.world_size or 1,
        )
        self._checkpointer = Checkpointer(
            self._order,
            self._source,
            seed_was_given=seed is not None,
            batch_size=self.batch_size,
            transform=self._recipe.fingerprint,
            executor=self.options.arithmetic,
            exclude=None if self._exclusion is None else self._exclusion.fingerprint,
        )
        self._checked = checked
        self._quarantine: Quarantine | None = None
        self._mender = self._make_mender()
        self._begin_closed()
        self._made = True

    def __setattr__(self, name: str, value: Any) -> None:
        """As for any object; collate_fn, worker_init_fn, timeout and pin_memory hold for the iterations to come.

        Raises:
            ArgumentError: it would have no effect any more.
        """
        if "_made" not in vars(self):
            super().__setattr__(name, value)
            return
        if name in _FIXED:
            raise ArgumentError(f"{name} attribute should not be set after DataLoader is initialized; make a new one")
        if name == "collate_fn":
            self._collate_fn = check_callable(name, value)
        elif name == "worker_init_fn":
            self._startup = replace(self._startup, worker_init_fn=check_callable(name, value))
        elif name == "timeout":
            self._timeout = check_timeout(value)
        super().__setattr__(name, value)
        if name in ("collate_fn", "pin_memory"):
            self._delivery = self._make_delivery()
        if name in ("collate_fn", "worker_init_fn"):
            self._renew()

    def _make_delivery(self) -> Delivery:
        return Delivery(self._recipe, self.options.torch_device, self._collate_fn, pin_memory=self.pin_memory)

    def _renew(self) -> None:
        """The next iteration opens anew; one that is under way goes on with what it has."""
        self._plan = None
        iterator = self._latest() if self._latest is not None else None
        if iterator is None or iterator.ended:
            self.close()
        else:
            self._supply = None

    def __getstate__(self) -> dict[str, Any]:
        """Without threads and processes: a copy opens its own, and begins where this loader's order stands."""
        return {name: value for name, value in vars(self).items() if name not in _OF_THE_PROCESS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin_closed()

    def _begin_closed(self) -> None:
        """No thread and no process yet."""
        self._latest = None
        self._loaded = False
        self._supply = None
        self._plan = None
        self._opening = threading.Lock()
        self._finalizer = None

    __class_getitem__: Any = classmethod(GenericAlias)  # `DataLoader[Batch]` in annotations, as of torch's

    @property
    def sampler(self) -> Any:
        """Which sample comes next, as torch's loader has it."""
        return self._order.sampler if isinstance(self._order, SamplerOrder) else self._checked.sampler

    @property
    def batch_sampler(self) -> Any:
        """The batches of its indices; None where there are no batches."""
        if not isinstance(self._order, OwnOrder) or self.batch_size is None:
            return self._checked.batch_sampler
        return BatchSampler(self._order.sampler, self.batch_size, self.drop_last)

    # Iteration

    def __iter__(self) -> BatchIterator:
        """Starts a pass: from where a loaded state left off, else from the beginning.

        Raises:
            ArgumentError: a torchvision dataset that is read around its methods was changed since the loader was made.
            RankMismatchError: the ranks do not load the same (docs/distributed.md). With a sampler of `samplers` this
                is raised by the first `next`: the pass is entered there.
        """
        self._adapt.check_unchanged()
        return BatchIterator(self)

    def __len__(self) -> int:
        """Batches in a pass of this rank.

        Raises:
            TypeError: the sampler is endless, or a torch-style sampler or iterable dataset has no length.
        """
        return len(self._order)

    def set_epoch(self, epoch: int) -> None:
        """Sets the pass of the next iteration: the sampler's order and the key of the augmentation both follow.

        A state loaded before stays in force if it is of this pass. An iteration under way goes on in its own. An
        endless sampler has one pass: nothing happens.

        Raises:
            ArgumentError: `epoch` is no whole number from 0 to 2**23 - 1.
        """
        self._order.set_epoch(check_integer("epoch", epoch, 0, MAX_EPOCH))

    # State

    def state_dict(self) -> dict[str, Any]:
        """Where the loader is: after the last batch that the user took, whatever was worked out ahead.

        Raises:
            StateError: the dataset is iterable and has no `state_dict`.
        """
        under_way = self._is_under_way() and not self._loaded
        return self._checkpointer.make(self.seed, under_way=under_way).to_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to where a loader like this one was; the next iteration continues there, to the same pixels.

        Another batch size or number of threads is allowed (another batch size not with torch-style samplers and
        iterable datasets, where batches are counted). So is another number of ranks with SamplerType.KEYED_EPOCH,
        KEYED_INFINITE, EPOCH and DISTRIBUTED: together they take exactly what is left of the pass; the state of any one
        rank is good for all. A state taken after the last batch of a pass yields no batch, and the iteration after it
        is a whole pass.

        Raises:
            StateError: it was made by another dataset, sampler or seed, or by another number of ranks with a sampler
                that cannot change it; both sides are shown.
        """
        theirs = self._checkpointer.admit(state, self.seed)
        if theirs.seed != self.seed:
            self._adopt_seed(theirs.seed)
        self._order.load(theirs.order)
        if self._is_under_way():
            _LOG.warning(
                "a state was loaded while an iteration is under way: that goes on as it was, and state_dict() says "
                "where the loaded state is, until the next iteration begins"
            )
        self._loaded = True

    def _is_under_way(self) -> bool:
        """Whether the iteration that began last is neither at its end nor dropped."""
        iterator = self._latest() if self._latest is not None else None
        return iterator is not None and not iterator.ended

    def _adopt_seed(self, seed: int) -> None:
        self.close()
        self._plan = None
        vars(self)["seed"] = seed  # fixed for others
        self._mender = self._make_mender()
        if isinstance(self._order, OwnOrder):
            self._order.reseed(seed)

    def stats(self) -> dict[str, Any]:
        """What the loader has counted.

        Returns:
            "bad_rows": rows that were found bad; "bad_samples": places of the order whose sample was replaced or left
            out.
        """
        return {"bad_rows": 0, "bad_samples": 0} if self._quarantine is None else dict(self._quarantine.counts)

    # Life

    def close(self) -> None:
        """Ends all threads and processes and gives their memory back. May be called again; iterating later opens the
        loader anew.
        """
        supply, self._supply = self._supply, None
        if supply is not None and self._finalizer is not None:
            self._finalizer.detach()
            supply.close()

    def __repr__(self) -> str:
        """What it loads, how and where."""
        options, dataset = self.options, describe(self.dataset)
        length = "an unknown number" if dataset["length"] is None else f"{dataset['length']:,d}"
        return (
            f"DataLoader({dataset['class']} of {length}, batch_size={self.batch_size}, "
            f"sampler={self.sampler!r}, seed={self.seed}, rank={options.rank} of {options.world_size}, "
            f"device={options.torch_device}, executor={options.executor!r}, num_threads={options.num_threads}, "
            f"num_workers={self.num_workers})"
        )

    def __enter__(self) -> DataLoader:
        """The loader itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the loader."""
        self.close()

    # For the iterator

    def _requests(self, progress: Progress) -> Iterator[Request]:
        """The batches of an iteration, with others in the places of rows that are excluded or known to be bad."""
        requests = self._order.requests(progress)
        if self._exclusion is not None and isinstance(self._order, SamplerOrder):
            requests = map(partial(self._exclusion.apply, seed=self.seed), requests)
        elif self._exclusion is not None:
            requests = map(partial(self._exclusion.apply_within, seed=self.seed, dataset=self._source), requests)
        return requests if self._mender is None else map(self._mender.anticipate, requests)

    def _make_mender(self) -> Mender | None:
        policy = self.options.policy
        if not policy.tolerant:
            return None
        if self._quarantine is None:
            self._quarantine = Quarantine(policy, self._source, self.options.rank or 0)
        return Mender(
            drop=policy.on_error == "drop",
            seed=self.seed,
            count=len(self._source) if isinstance(self._order, SamplerOrder) else None,
            quarantine=self._quarantine,
            exclusion=self._exclusion,
        )

    def _get_plan(self) -> Plan:
        """What is to be done; the same until something is set anew."""
        if self._plan is None:
            self._plan = self._make_plan()
        return self._plan

    def _make_plan(self) -> Plan:
        function = self._recipe.function
        return Plan(
            task=ReadTask(
                dataset=self.dataset,
                seed=self.seed,
                collate_fn=self._collate_fn,
                transformed=self._transformed,
                encoded=self.options.encoded,
                adapt=self._adapt,
                function=None
                if function is None
                else HostFunction(
                    function,
                    self.seed,
                    adjust_orientation=self._recipe.decode.adjust_orientation,
                    limits=self.options.limits,
                ),
                limits=self.options.limits,
                tolerant=self._mender is not None,
                batch_size=self.batch_size,
                drop_last=self.drop_last,
                rank=self.options.rank or 0,
                world_size=self.options.world_size or 1,
            ),
            recipe=self._recipe,
            options=self.options,
            batch_size=self.batch_size or 1,
            source=self._source,
            on_threads=declares_images(self._source) and self.num_workers == 0,
            num_workers=self.num_workers,
            prefetch_factor=self.prefetch_factor,
            context=self._context,
            persistent=self.persistent_workers,
            startup=self._startup,
            mender=self._mender,
        )

    def _open(self, requests: Iterator[Request], progress: Progress) -> tuple[Supply, Pipe]:
        """A pipe for an iteration."""
        with self._opening:
            supply = self._supply
            if supply is None or not supply.usable:  # closed, or another process's
                supply = self._supply = Supply(self._get_plan())
                self._finalizer = weakref.finalize(self, supply.stop)  # only tells: on any thread, at any moment
                self._finalizer.atexit = False  # the supply sees to that itself
        order = self._order
        where: dict[str, Any] = {}
        if isinstance(order, IterableOrder):
            where = {"states": order.resume_states(), "first_worker": order.first_worker}
        return supply, supply.open(requests, progress.passes, **where)
