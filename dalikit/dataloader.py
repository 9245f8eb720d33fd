"""DataLoader: joins sampler, dataset, transform and engine; iteration, length, state."""

from __future__ import annotations

import itertools
import logging
import math
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Unpack

import torch

from dalikit.collate import collate_targets, move_targets, samples_of
from dalikit.engine import BatchStream, Engine, Executor, FinishedBatch, Request
from dalikit.errors import ArgumentError
from dalikit.fetch import ThreadFetcher
from dalikit.options import MAX_SEED, LoaderOptions, OptionArguments, check_integer, make_options
from dalikit.state import LoaderState, check_state
from dalikit.transforms.recipe import Recipe, compile_recipe
from samplers import FiniteSampler, RandomSampler, Sampler, SequentialSampler, position

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
            loader is made, so `torch.manual_seed` decides it; a loaded state brings its own.
        **options: transform, device, dtype, channels_last, executor, num_threads, prefetch_batches, rank, world_size.

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
        _refuse_workers(num_workers, batch_sampler, persistent_workers, prefetch_factor, multiprocessing_context)
        self.dataset = _check_dataset(dataset)
        self.batch_size = check_integer("batch_size", batch_size, 1)
        self.drop_last = bool(drop_last)
        self.num_workers = 0
        self.batch_sampler = None
        self.collate_fn = collate_fn
        self.timeout = _check_timeout(timeout)
        self.options: LoaderOptions = make_options(options)
        self._recipe: Recipe = compile_recipe(_transform_of(dataset, self.options.transform))

        self._seed_was_drawn = seed is None
        self.seed = _draw_seed(generator) if seed is None else check_integer("seed", seed, 0, MAX_SEED)
        self.sampler = _check_sampler(sampler, shuffle, self.dataset, self.seed)

        self._cursor = _Cursor(self.sampler.epoch, self.sampler.taken)
        self._sampler_epoch = self.sampler.epoch
        self._advanced_pass: int | None = self.sampler.epoch  # in which the sampler's `advance` has taken some
        self._resumed = False
        self._engine: Engine | None = None
        self._finalizer: weakref.finalize[Any, Any] | None = None

    # Iteration

    def __iter__(self) -> Iterator[Any]:
        """Starts a pass: from where a loaded state left off, else from the beginning."""
        self._follow_sampler()
        passes, taken = self._cursor.passes, self._cursor.taken
        if not self._resumed:
            taken = self.sampler.taken if passes == self._advanced_pass else 0
        self._resumed = False
        self._cursor = _Cursor(passes, taken)
        return _BatchIterator(self, self._cursor)

    def __len__(self) -> int:
        """Batches in a pass of this rank.

        Raises:
            TypeError: the sampler is endless.
        """
        samples = len(self.sampler)  # type: ignore[arg-type]  # an endless sampler has none, which is the TypeError
        return samples // self.batch_size if self.drop_last else math.ceil(samples / self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Sets the pass: the sampler's order and the key of the augmentation both follow.

        A state loaded before stays in force if it is of this pass. An endless sampler has one pass: nothing happens.
        """
        check_integer("epoch", epoch, 0)
        if isinstance(self.sampler, FiniteSampler):
            self.sampler.set_epoch(epoch)
            self._sampler_epoch = epoch
            self._enter_pass(epoch)

    def _enter_pass(self, passes: int) -> None:
        if passes != self._cursor.passes:
            self._cursor = _Cursor(passes, 0)
            self._resumed = False

    def _follow_sampler(self) -> None:
        """Takes over an epoch that was set on the sampler itself, and sets the epoch of a sampler that is ours."""
        if self.sampler.epoch != self._sampler_epoch:
            self._enter_pass(self.sampler.epoch)
        if isinstance(self.sampler, RandomSampler):
            self.sampler.set_epoch(self._cursor.passes)
        self._sampler_epoch = self.sampler.epoch

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
        check_state(theirs, mine, adopt_seed=self._seed_was_drawn)
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
        if isinstance(self.sampler, FiniteSampler):
            self.sampler.set_epoch(theirs.epoch)
        self._sampler_epoch = self.sampler.epoch
        self._cursor = _Cursor(theirs.passes, -(-theirs.place // theirs.world_size))
        self._resumed = True
        self._advanced_pass = None

    def _adopt_seed(self, seed: int) -> None:
        self.close()
        self.seed = seed
        if isinstance(self.sampler, RandomSampler):
            self.sampler = RandomSampler(self.sampler.sample_count, seed=seed)

    def _state(self) -> LoaderState:
        identity = self.sampler.identity()
        world_size = int(identity.pop("world_size"))
        identity.pop("rank")
        size = self.sampler.size
        place = self._cursor.taken * world_size
        return LoaderState(
            passes=self._cursor.passes,
            place=place if size is None else min(place, size),
            epoch=self.sampler.epoch,
            seed=self.seed,
            world_size=world_size,
            sampler=identity,
            dataset=_describe(self.dataset),
            transform=self._recipe.fingerprint,
            executor=self.options.executor,
        )

    # Life

    def close(self) -> None:
        """Ends all threads and gives their memory back. May be called again; iterating later opens the loader anew."""
        engine, self._engine = self._engine, None
        if engine is not None and self._finalizer is not None:
            self._finalizer.detach()
            engine.close()

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
            max_idle_arenas=under_way,
        )
        engine = Engine(
            fetcher=fetcher,
            make_executor=_executor_maker(options, self._recipe, self.batch_size, under_way),
            recipe=self._recipe,
            seed=self.seed,
            collate_targets=collate_targets if self.collate_fn is None else list,
            window=under_way,
        )
        self._finalizer = weakref.finalize(self, engine.close)
        self._finalizer.atexit = False  # the engine sees to that itself
        return engine

    # For the iterator

    def _start(self, cursor: _Cursor) -> BatchStream:
        """A stream from a place on."""
        if self._engine is None:
            self._engine = self._open()
        requests = _requests(
            self.sampler,
            epoch=self.sampler.epoch,  # that of now: setting it for the next pass changes nothing in this one
            passes=cursor.passes,
            taken=cursor.taken,
            batch_size=self.batch_size,
            drop_last=self.drop_last,
        )
        return self._engine.start(requests)

    def _deliver(self, batch: FinishedBatch) -> Any:
        """What the user gets of a finished batch."""
        targets = move_targets(batch.targets, self.options.torch_device)
        if self.collate_fn is None:
            return batch.images, targets
        return self.collate_fn(samples_of(batch.images, targets))

    def _end_pass(self, cursor: _Cursor) -> None:
        """A pass is complete: the next one follows, unless another was entered meanwhile."""
        if self._cursor is cursor:
            self._cursor = _Cursor(cursor.passes + 1, 0)


@dataclass(slots=True)
class _Cursor:
    """Where an iteration is. The loader's is that of the iteration that began last."""

    passes: int
    taken: int
    """Samples of this rank in the pass: batches times batch size, so that all ranks agree at an uneven end too."""


class _BatchIterator(Iterator[Any]):
    """One iteration over a loader. When it is dropped, its thread ends."""

    def __init__(self, loader: DataLoader, cursor: _Cursor) -> None:
        self._loader = loader
        self._cursor = cursor
        self._stream: BatchStream | None = loader._start(cursor)
        self._finalizer = weakref.finalize(self, self._stream.stop)
        self._finalizer.atexit = False  # the loader's own finaliser ends all streams then

    def __next__(self) -> Any:
        if self._stream is None:
            raise StopIteration
        try:
            batch = self._stream.take(self._loader.timeout)
        except TimeoutError:
            raise  # the batch may yet come
        except BaseException:
            self._end()
            raise
        if batch is None:
            self._end()
            self._loader._end_pass(self._cursor)
            raise StopIteration
        self._cursor.taken += self._loader.batch_size
        return self._loader._deliver(batch)

    def _end(self) -> None:
        self._finalizer()
        self._stream = None


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
        yield Request(indices, position(passes, places))


def _executor_maker(options: LoaderOptions, recipe: Recipe, batch_size: int, under_way: int) -> Callable[[], Executor]:
    """Imports the executor that was asked for, and nothing of the other one."""
    shared: dict[str, Any] = {
        "num_threads": options.num_threads,
        "dtype": options.dtype,
        "channels_last": options.channels_last,
    }
    if options.executor == "host":
        from dalikit.host import HostExecutor

        return lambda: HostExecutor(recipe, max_idle_outputs=under_way, **shared)
    from dalikit.graph import GraphExecutor

    return lambda: GraphExecutor(recipe, batch_size=batch_size, device=options.torch_device, **shared)


def _refuse_workers(
    num_workers: Any, batch_sampler: Any, persistent_workers: Any, prefetch_factor: Any, context: Any
) -> None:
    if num_workers != 0 or isinstance(num_workers, bool):
        raise ArgumentError(
            f"num_workers={num_workers!r}: must be 0: files are read on threads of this process and decoded by "
            "num_threads threads or the GPU; worker processes are not available yet"
        )
    if batch_sampler is not None:
        raise ArgumentError(f"batch_sampler={batch_sampler!r}: not available yet; give sampler and batch_size")
    given = {"persistent_workers": persistent_workers or None, "prefetch_factor": prefetch_factor}
    for name, value in {**given, "multiprocessing_context": context}.items():
        if value is not None:
            raise ArgumentError(f"{name}={value!r}: needs num_workers > 0, which is not available yet")


def _check_dataset(dataset: Any) -> Any:
    missing = [name for name in ("get_image_data", "get_target", "__len__") if not hasattr(dataset, name)]
    if missing:
        raise ArgumentError(
            f"dataset={type(dataset).__name__}: must have get_image_data(index), get_target(index) and len(); "
            f"it lacks {', '.join(missing)}"
        )
    if len(dataset) == 0:
        raise ArgumentError(f"dataset={type(dataset).__name__}: must hold at least one sample, it has none")
    return dataset


def _check_timeout(timeout: Any) -> float | None:
    """Seconds, or None for as long as it takes."""
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or math.isnan(timeout):
        raise ArgumentError(f"timeout={timeout!r}: must be a number of seconds; 0 or less waits as long as it takes")
    return float(timeout) if timeout > 0 else None


def _transform_of(dataset: Any, transform: Any) -> Any:
    return getattr(dataset, "transform", None) if transform is None else transform


def _draw_seed(generator: torch.Generator | None) -> int:
    return int(torch.empty((), dtype=torch.int64).random_(generator=generator).item())


def _check_sampler(sampler: Any, shuffle: Any, dataset: Any, seed: int) -> Sampler:
    if not isinstance(shuffle, bool):
        raise ArgumentError(f"shuffle={shuffle!r}: must be True or False")
    if sampler is None:
        return RandomSampler(len(dataset), seed=seed) if shuffle else SequentialSampler(len(dataset))
    if shuffle:
        raise ArgumentError("shuffle=True: not together with a sampler, which decides the order itself")
    if not isinstance(sampler, Sampler):
        raise ArgumentError(f"sampler={sampler!r}: must be a sampler of the package `samplers`")
    if sampler.sample_count != len(dataset):
        raise ArgumentError(f"sampler: made for {sampler.sample_count} samples, the dataset has {len(dataset)}")
    return sampler


def _describe(dataset: Any) -> dict[str, Any]:
    return {
        "class": type(dataset).__name__,
        "length": len(dataset),
        "fingerprint": getattr(dataset, "fingerprint", None),
    }
