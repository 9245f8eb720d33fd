"""What dalikit adds to torch's arguments, in one frozen object."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Any, TypedDict

import torch

from dalikit.distributed import default_num_threads, resolve_device, resolve_rank
from dalikit.errors import ArgumentError
from dalikit.fetch.limits import MAX_PIXELS, Limits
from dalikit.repair import ErrorPolicy
from dalikit.storage.reading import MAX_SIZE

__all__ = [
    "MAX_EPOCH",
    "MAX_SEED",
    "LoaderOptions",
    "OptionArguments",
    "check_bool",
    "check_integer",
    "check_seed",
    "make_options",
]

MAX_SEED = 2**63 - 1
"""The largest seed: what torch's int64 holds."""

MAX_EPOCH = 2**23 - 1
"""The largest pass: a position holds 23 bits of it."""

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_EXECUTORS = ("auto", "dali", "host")
_TRUNCATED = ("error", "accept")
_RESIZES = ("torch", "pillow")


class OptionArguments(TypedDict, total=False):
    """The keyword arguments that dalikit adds. Their meaning: LoaderOptions."""

    transform: Any
    encoded: bool | None
    device: Any
    dtype: torch.dtype
    channels_last: bool
    executor: str
    resize: str
    num_threads: int | None
    prefetch_batches: int
    rank: int | None
    world_size: int | None
    on_error: str
    max_errors: int | float | None
    quarantine: Any
    truncated: str
    max_pixels: int | None
    max_encoded_bytes: int | None
    exclude: Any
    return_parameters: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderOptions:
    """What dalikit adds to torch's arguments, checked and with defaults filled in."""

    transform: Any = None
    """A transform of dalikit.transforms; None: the dataset's own."""
    encoded: bool | None = None
    """Whether bytes and 1-D uint8 arrays in the items of a dataset with `__getitem__` are image files. None: if their
    first bytes are those of one."""
    device: Any = None
    """Where batches come out; None: the local GPU, else the CPU."""
    dtype: torch.dtype = torch.float32
    """Of floating outputs: float32, float16 or bfloat16."""
    channels_last: bool = False
    """Memory order of the images: torch.channels_last. Their shape stays (B, 3, H, W)."""
    executor: str = "auto"
    """"dali": one DALI graph; "host": torch's kernels on CPU threads; "auto": "dali" on a GPU, "host" on a CPU."""
    resize: str = "torch"
    """How the "host" executor resizes. "torch": its uint8 kernel, within 2 levels of Pillow (bilinear), or 24 at single
    pixels (bicubic; 0.03 on average). "pillow": Pillow itself, so exact, and four to five times as slow."""
    num_threads: int | None = None
    """CPU threads that decode and transform; None: this process's share of the cores."""
    prefetch_batches: int = 2
    """Batches ahead of the user, beside two more that are being read or worked on."""
    rank: int | None = None
    world_size: int | None = None
    """None: from torch.distributed; else what torchrun, Open MPI or SLURM say; else 0 of 1."""
    on_error: str = "raise"
    """What becomes of a sample that cannot be read, decoded or transformed. "raise": it ends the iteration. "replace":
    another sample, chosen by seed and position alone, takes its place; batch size, order and pixels of all others stay.
    "drop": the batch is shorter (on one rank alone). Each is written into a report, and logged. What stands in for
    items of `__getitem__` or of worker processes is read on your own thread, when it asks for the next batch, so in a
    process where `worker_init_fn` was not called."""
    max_errors: int | float | None = None
    """How many rows may be bad before the run ends after all: a number, or (below 1) a share of the samples. None: as
    many as come."""
    quarantine: Any = None
    """The report of bad samples, usable as `exclude`: JSON Lines. None: "dalikit-quarantine-...-rank0.jsonl" in the
    current folder, once there is one."""
    truncated: str = "error"
    """A JPEG file that was cut off. "error": it is a bad sample. "accept": what is missing of it is gray, as Pillow
    has it with LOAD_TRUNCATED_IMAGES."""
    max_pixels: int | None = MAX_PIXELS
    """An image whose header tells of more is an error before it is decoded. Default: Pillow's limit. None: no limit."""
    max_encoded_bytes: int | None = None
    """An image file of more bytes is an error before it is read. None: 2 GiB."""
    exclude: Any = field(default=None, compare=False)
    """Known bad rows, in whose places other samples come: a report of `dalikit check`, a text file of row numbers, or
    the numbers. The dataset's length, the batch size and all other samples stay. With dalikit's samplers what stands in
    follows from the seed and the position alone; with torch-style ones it is another sample of the same batch."""
    return_parameters: bool = False
    """Batches have a third part: what was drawn for each sample and view (dalikit.transforms.report)."""
    torch_device: torch.device = field(init=False)
    """The resolved device."""

    def __post_init__(self) -> None:
        """Checks and fills in.

        Raises:
            ArgumentError: an option is out of range, or options contradict each other.
            DeviceError: the device is not there.
        """
        set_field = object.__setattr__
        if self.dtype not in _DTYPES:
            raise ArgumentError(f"dtype={self.dtype!r}: must be torch.float32, torch.float16 or torch.bfloat16")
        check_bool("channels_last", self.channels_last)
        check_bool("return_parameters", self.return_parameters)
        if self.encoded is not None:
            check_bool("encoded", self.encoded)
        if self.executor not in _EXECUTORS:
            raise ArgumentError(f"executor={self.executor!r}: must be one of {', '.join(map(repr, _EXECUTORS))}")
        threads = default_num_threads() if self.num_threads is None else self.num_threads
        set_field(self, "num_threads", check_integer("num_threads", threads, 1, 1024))
        set_field(self, "prefetch_batches", check_integer("prefetch_batches", self.prefetch_batches, 1, 1024))
        policy = self.policy
        self._check_limits()
        rank, world_size = resolve_rank(self.rank, self.world_size)
        set_field(self, "rank", rank)
        set_field(self, "world_size", world_size)
        if policy.on_error == "drop" and world_size > 1:
            raise ArgumentError(
                f"on_error='drop': shortens the batches of one rank, and there are {world_size}; use 'replace'"
            )
        device = resolve_device(self.device)
        set_field(self, "torch_device", device)
        if self.executor == "auto":
            set_field(self, "executor", "dali" if device.type == "cuda" else "host")
        elif self.executor == "host" and device.type == "cuda":
            raise ArgumentError("executor='host': works on the CPU; with device='cuda' use 'dali' or 'auto'")
        if self.resize not in _RESIZES:
            raise ArgumentError(f"resize={self.resize!r}: must be one of {', '.join(map(repr, _RESIZES))}")
        if self.resize == "pillow" and self.executor != "host":
            raise ArgumentError("resize='pillow': works in executor='host' alone; DALI resizes by itself")

    def _check_limits(self) -> None:
        if self.truncated not in _TRUNCATED:
            raise ArgumentError(f"truncated={self.truncated!r}: must be one of {', '.join(map(repr, _TRUNCATED))}")
        if self.max_pixels is not None:
            object.__setattr__(self, "max_pixels", check_integer("max_pixels", self.max_pixels, 1))
        if self.max_encoded_bytes is not None:
            most = check_integer("max_encoded_bytes", self.max_encoded_bytes, 1, MAX_SIZE)
            object.__setattr__(self, "max_encoded_bytes", most)

    @property
    def policy(self) -> ErrorPolicy:
        """What becomes of bad samples."""
        return ErrorPolicy(self.on_error, self.max_errors, self.quarantine)

    @property
    def limits(self) -> Limits:
        """Of an image."""
        return Limits(self.max_pixels, MAX_SIZE if self.max_encoded_bytes is None else self.max_encoded_bytes)

    @property
    def arithmetic(self) -> str:
        """What decides about pixels beside the transform: stands in checkpoints."""
        return self.executor if self.resize == "torch" else f"{self.executor}, resize={self.resize}"


def make_options(arguments: OptionArguments) -> LoaderOptions:
    """Checks keyword arguments; a name that is none of them is a TypeError, as for any function."""
    known = OptionArguments.__annotations__
    for name in arguments:
        if name not in known:
            raise TypeError(f"unexpected keyword argument {name!r}; dalikit's own are {', '.join(sorted(known))}")
    return LoaderOptions(**arguments)


def check_bool(name: str, value: Any) -> bool:
    """True or False, and nothing that only counts as one."""
    if not isinstance(value, bool):
        raise ArgumentError(f"{name}={value!r}: must be True or False")
    return value


def check_seed(value: Any) -> int:
    """A seed."""
    return check_integer("seed", value, 0, MAX_SEED)


def check_integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    """A whole number with low <= value <= high; numpy's integers count, True and 2.0 do not."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < low or (high is not None and number > high):
        allowed = f"at least {low}" if high is None else f"from {low} to {high}"
        raise ArgumentError(f"{name}={value!r}: must be a whole number, {allowed}")
    return number
