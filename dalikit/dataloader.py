"""DataLoader: joins sampler, dataset, transform and engine; iteration, length, state."""

from __future__ import annotations

import itertools
import logging
import math
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn, Unpack

import torch

from dalikit.arguments import (
    check_callable,
    check_dataset,
    check_sampler,
    check_timeout,
    describe,
    draw_seed,
    make_sampler,
    refuse_workers,
    transform_of,
)
from dalikit.collate import collate_targets
from dalikit.delivery import Delivery
from dalikit.engine import Engine, Executor
from dalikit.errors import LoaderClosedError
from dalikit.fetch import HostFunction, Request, ThreadFetcher
from dalikit.options import (
    MAX_EPOCH,
    LoaderOptions,
    OptionArguments,
    check_bool,
    check_integer,
    check_seed,
    make_options,
)
from dalikit.state import LoaderState, check_state
from dalikit.stream import BatchStream, StreamEnd
from dalikit.transforms.compiler import compile_recipe
from dalikit.transforms.recipe import Recipe
from samplers import FiniteSampler, Sampler, position

__all__ = ["DataLoader"]

_LOG = logging.getLogger("dalikit")

_READING_THREADS = 4  # at most: they wait for storage; with warm page cache one alone reads 40,000 images/s
_MORE_UNDER_WAY = 2  # batches being read or worked on beside those that are finished


class DataLoader:
    """Batches of a dataset, decoded and augmented, as tensors on the device.

    The arguments up to `worker_packages` are those of R torch's `dataloader`, which are torch's and two more; then come
    torch's other ones, then dalikit's own as keywords (`LoaderOptions` says what they mean).

    Args:
        dataset: with `get_image_data(index)`, `get_target(index)` and `len`: dalikit's and DINOv2's datasets.
        batch_size: samples a batch.
        shuffle: draw a new order each pass, from the seed. Not together with `sampler`.
        sampler: which sample comes next: one of the package `samplers`.
        batch_sampler: not available yet.
        num_workers: 0: files are read on threads of this process. Worker processes are not available yet.
        collate_fn: makes a batch of the list of its samples `(image, target)`; images are tensors on the device, not
            copied. Runs on the user's thread. None: `(images, targets)` with targets stacked as torch does.
        pin_memory: accepted for torch's sake: outputs are on the device already, and targets are pinned on their way.
        drop_last: leave out the last batch of a pass if it is short.
        timeout: seconds to wait for a batch; 0 or less: as long as it takes.
        worker_init_fn: for worker processes, as the next two: without effect while there are none.
        worker_globals: see worker_init_fn.
        worker_packages: see worker_init_fn.
        persistent_workers: refused without worker processes, as in torch; the next two likewise.
        prefetch_factor: see persistent_workers.
        multiprocessing_context: see persistent_workers.
        generator: a torch.Generator from which a `seed` of None is drawn.
        seed: key of all randomness, 0 to 2**63 - 1. None: drawn once from torch's generator (or `generator`) when the
            loader is made, so `torch.manual_seed` decides it; a loaded state brings its own. With a sampler that is
            shared out to several ranks, None is the sampler's seed, on which the ranks agree.
        **options: transform, device, dtype, channels_last, executor, resize, num_threads, prefetch_batches, rank,
            world_size, return_parameters.

    Raises:
        ArgumentError: an argument is out of range or contradicts another.
        DeviceError: the device is not there.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        sampler: Sampler | None = None,
        batch_sampler: Any = None,
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
        seed: int | None = None,
        **options: Unpack[OptionArguments],
    ) -> None:
        del pin_memory, worker_init_fn, worker_globals, worker_packages
        refuse_workers(num_workers, batch_sampler, persistent_workers, prefetch_factor, multiprocessing_context)
        self.dataset = check_dataset(dataset)
        self.batch_size = check_integer("batch_size", batch_size, 1)
        self.drop_last = check_bool("drop_last", drop_last)
        self.num_workers = 0
        self.batch_sampler = None
        self.collate_fn = check_callable("collate_fn", collate_fn)
        self.timeout = check_timeout(timeout)
        self.options: LoaderOptions = make_options(options)
        self._recipe: Recipe = compile_recipe(transform_of(dataset, self.options.transform))
        self._delivery = Delivery(self._recipe, self.options.torch_device, self.collate_fn)
        check_sampler(sampler, shuffle, self.dataset)
        # The ranks of a shared sampler must agree on the key, and would draw one each.
        shared_seed = sampler.seed if sampler is not None and sampler.step > 1 else None
        self._seed_was_drawn = seed is None and shared_seed is None
        self.seed = draw_seed(generator) if self._seed_was_drawn else check_seed(shared_seed if seed is None else seed)
        self._own_sampler = sampler is None
        self.sampler = make_sampler(self.dataset, bool(shuffle), self.seed) if sampler is None else sampler

        self._advanced = (self.sampler.epoch, self.sampler.taken)  # the pass in which `advance` has taken some
        self._sampler_epoch = self.sampler.epoch
        self._cursor = _Cursor(self.sampler.epoch, self.sampler.epoch, self.sampler.taken)
        self._resumed = False
        self._entered: int | None = None  # the pass that set_epoch asked for, until the next iteration begins
        self._iterator: weakref.ref[_BatchIterator] | None = None
        self._engine: Engine | None = None
        self._opening = threading.Lock()
        self._finalizer: weakref.finalize[Any, Any] | None = None

    # Iteration

    def __iter__(self) -> Iterator[Any]:
        """Starts a pass: from where a loaded state left off, else from the beginning."""
        self._cursor = self._beginning()
        self._cursor.begun = True
        self._resumed, self._entered = False, None
        iterator = _BatchIterator(self, self._cursor)
        self._iterator = weakref.ref(iterator)
        return iterator

    def __len__(self) -> int:
        """Batches in a pass of this rank.

        Raises:
            TypeError: the sampler is endless.
        """
        samples = self.sampler.num_samples
        if samples is None:
            raise TypeError(f"object of type '{type(self).__name__}' has no len(): {self.sampler!r} is endless")
        samples -= self._advance_of(self._place().passes)
        return samples // self.batch_size if self.drop_last else math.ceil(samples / self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Sets the pass of the next iteration: the sampler's order and the key of the augmentation both follow.

        A state loaded before stays in force if it is of this pass. An iteration under way goes on in its own. An
        endless sampler has one pass: nothing happens.

        Raises:
            ArgumentError: `epoch` is no whole number from 0 to 2**23 - 1.
        """
        check_integer("epoch", epoch, 0, MAX_EPOCH)
        if isinstance(self.sampler, FiniteSampler):
            if not self._own_sampler:
                self.sampler.set_epoch(epoch)
                self._sampler_epoch = epoch
            self._entered = epoch

    def _beginning(self) -> _Cursor:
        """Where the next iteration begins."""
        if self.sampler.epoch != self._sampler_epoch:  # set on the sampler itself, as scripts for torch do
            self._entered = self._sampler_epoch = self.sampler.epoch
        cursor = self._cursor
        passes = cursor.passes if self._entered is None else self._entered
        if self._resumed and passes == cursor.passes:
            return _Cursor(cursor.passes, cursor.epoch, cursor.taken)
        if self._entered is None and self._own_sampler and cursor.begun:
            passes += 1  # torch's loader draws a new order for every iteration, after one that was cut short too
        epoch = passes if self._own_sampler else self.sampler.epoch
        return _Cursor(passes, epoch, self._advance_of(passes))

    def _advance_of(self, passes: int) -> int:
        """Samples of this rank that `advance` has taken of a pass."""
        return self._advanced[1] if passes == self._advanced[0] else 0

    def _place(self) -> _Cursor:
        """Where the loader is: in the iteration under way or the one that was cut short, else where the next begins."""
        iterator = self._iterator() if self._iterator is not None else None
        under_way = iterator is not None and not iterator.ended
        moved = self._entered is not None or self.sampler.epoch != self._sampler_epoch
        return self._beginning() if moved and not under_way else self._cursor

    # State

    def state_dict(self) -> dict[str, Any]:
        """Where the loader is: after the last batch that the user took, whatever was worked out ahead."""
        return self._state().to_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to where a loader like this one was; the next iteration continues there, to the same pixels.

        Another batch size or number of threads is allowed. A state taken after the last batch of a pass yields no
        batch, and the iteration after it is a whole pass.

        Raises:
            StateError: it was made by another dataset, sampler, seed or number of ranks; both sides are shown.
        """
        theirs, mine = LoaderState.from_dict(state), self._state()
        check_state(theirs, mine, size=self.sampler.size, adopt=self._adoptable())
        for name, word in (("executor", "executor"), ("transform", "transform")):
            if getattr(theirs, name) != getattr(mine, name):
                _LOG.warning(
                    "the state was made with another %s (%s, here %s): the order is the same, pixels differ",
                    word,
                    getattr(theirs, name),
                    getattr(mine, name),
                )
        if theirs.seed != self.seed:
            self._adopt_seed(theirs.seed)
        if isinstance(self.sampler, FiniteSampler) and not self._own_sampler:
            self.sampler.set_epoch(theirs.epoch)
        self._sampler_epoch = self.sampler.epoch
        self._cursor = _Cursor(theirs.passes, theirs.epoch, -(-theirs.place // theirs.world_size))
        self._resumed, self._entered, self._iterator = True, None, None

    def _adoptable(self) -> frozenset[str]:
        """What a state may bring along: a seed that was drawn here, and with it that of our own sampler."""
        if not self._seed_was_drawn:
            return frozenset()
        return frozenset({"seed", "sampler.seed"} if self._own_sampler else {"seed"})

    def _adopt_seed(self, seed: int) -> None:
        self.close()
        self.seed = seed
        if self._own_sampler:
            self.sampler = make_sampler(self.dataset, self.sampler.shuffle, seed)

    def _state(self) -> LoaderState:
        cursor = self._place()
        identity = self.sampler.identity()
        world_size = int(identity.pop("world_size"))
        identity.pop("rank")
        size = self.sampler.size
        place = cursor.taken * world_size
        return LoaderState(
            passes=cursor.passes,
            place=place if size is None else min(place, size),
            epoch=cursor.epoch,
            seed=self.seed,
            world_size=world_size,
            sampler=identity,
            dataset=describe(self.dataset),
            transform=self._recipe.fingerprint,
            executor=self.options.arithmetic,
        )

    # Life

    def close(self) -> None:
        """Ends all threads and gives their memory back. May be called again; iterating later opens the loader anew."""
        engine, self._engine = self._engine, None
        if engine is not None and self._finalizer is not None:
            self._finalizer.detach()
            engine.close()

    def __repr__(self) -> str:
        """What it loads, how and where."""
        options = self.options
        return (
            f"DataLoader({type(self.dataset).__name__} of {len(self.dataset):,d}, batch_size={self.batch_size}, "
            f"sampler={self.sampler!r}, seed={self.seed}, rank={options.rank} of {options.world_size}, "
            f"device={options.torch_device}, executor={options.executor!r}, num_threads={options.num_threads})"
        )

    def __enter__(self) -> DataLoader:
        """The loader itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the loader."""
        self.close()

    def _open(self) -> Engine:
        options = self.options
        under_way = options.prefetch_batches + _MORE_UNDER_WAY
        fetcher = ThreadFetcher(
            self.dataset,
            num_threads=min(_READING_THREADS, options.num_threads or 1),
            adjust_orientation=self._recipe.decode.adjust_orientation,
            function=self._host_function(),
            max_idle_arenas=under_way,
        )
        engine = Engine(
            fetcher=fetcher,
            make_executor=_executor_maker(options, self._recipe, self.batch_size, under_way),
            recipe=self._recipe,
            seed=self.seed,
            collate_targets=collate_targets if self.collate_fn is None else list,
            report=self.options.return_parameters,
            window=under_way,
        )
        self._finalizer = weakref.finalize(self, engine.stop)  # only tells: it may run on any thread, at any moment
        self._finalizer.atexit = False  # the engine sees to that itself
        return engine

    def _host_function(self) -> HostFunction | None:
        """The user's function that has the images first."""
        function, adjust_orientation = self._recipe.function, self._recipe.decode.adjust_orientation
        if function is None:
            return None
        return HostFunction(function, self.seed, adjust_orientation=adjust_orientation)

    # For the iterator

    def _start(self, cursor: _Cursor) -> BatchStream:
        """A stream from a place on."""
        requests = _requests(
            self.sampler,
            epoch=cursor.epoch,
            passes=cursor.passes,
            taken=cursor.taken,
            batch_size=self.batch_size,
            drop_last=self.drop_last,
        )
        with self._opening:
            engine = self._engine
            if engine is None or not engine.usable:  # closed, or another process's
                engine = self._engine = self._open()
            return engine.start(requests)

    def _end_pass(self, cursor: _Cursor) -> None:
        """A pass is complete: the next one follows, unless another was entered meanwhile."""
        if self._cursor is cursor:
            passes = cursor.passes + 1
            self._cursor = _Cursor(passes, passes if self._own_sampler else self.sampler.epoch, 0)


@dataclass(slots=True)
class _Cursor:
    """Where an iteration is. The loader's is that of the iteration that began last."""

    passes: int
    epoch: int
    """The sampler's: the pass too, but where `set_epoch` was forgotten."""
    taken: int
    """Samples of this rank in the pass: batches times batch size, so that all ranks agree at an uneven end too."""
    begun: bool = False
    """An iteration began here."""


class _BatchIterator(Iterator[Any]):
    """One iteration over a loader. When it is dropped, its thread ends."""

    def __init__(self, loader: DataLoader, cursor: _Cursor) -> None:
        self._loader = loader
        self._cursor = cursor
        self._stream = loader._start(cursor)
        self.ended = False
        """Whether there is nothing more to come."""
        self._finalizer = weakref.finalize(self, self._stream.stop)
        self._finalizer.atexit = False  # the engine ends all streams then

    def __next__(self) -> Any:
        if self.ended:
            raise StopIteration
        item = self._stream.take(self._loader.timeout)
        if isinstance(item, StreamEnd):
            self.ended = True
            return self._end(item)
        batch = self._loader._delivery(item, self._loader.seed)
        self._cursor.taken = item.taken  # not counted up: a batch before it may have failed on the way to the user
        return batch

    def _end(self, end: StreamEnd) -> NoReturn:
        self._finalizer.detach()
        if end.error is not None:
            raise end.error
        if end.stopped:
            raise LoaderClosedError("the loader was closed during this iteration; iterate over it anew")
        self._loader._end_pass(self._cursor)
        raise StopIteration


def _requests(
    sampler: Sampler, *, epoch: int, passes: int, taken: int, batch_size: int, drop_last: bool
) -> Iterator[Request]:
    """The batches of one pass, from the sample `taken` of this rank on."""
    length = sampler.num_samples
    for start in itertools.count(taken, batch_size):
        stop = start + batch_size
        if length is not None:
            stop = min(stop, length)
            if stop <= start or (drop_last and stop - start < batch_size):
                return
        indices, places = sampler.stretch(epoch, start, stop)
        yield Request(indices, position(passes, places), start + batch_size)


def _executor_maker(options: LoaderOptions, recipe: Recipe, batch_size: int, under_way: int) -> Callable[[], Executor]:
    """Imports the executor that was asked for, and nothing of the other one."""
    shared: dict[str, Any] = {
        "num_threads": options.num_threads,
        "dtype": options.dtype,
        "channels_last": options.channels_last,
        "max_idle_outputs": under_way,
    }
    if options.executor == "host":
        from dalikit.host import HostExecutor

        return lambda: HostExecutor(recipe, resize=options.resize, **shared)
    from dalikit.graph import GraphExecutor

    return lambda: GraphExecutor(recipe, batch_size=batch_size, device=options.torch_device, **shared)
