"""An image between operations, and the memory that operations work in.

Colour operations compute on float32 planes of whole numbers, which they change in place: numpy and torch have fast
loops for float32, and levels, sums of three weighted levels and products of three levels are all below 2**24, where
float32 is exact. Operations follow each other without going back to uint8.

Which of the two libraries an operation calls was measured, call by call, on images of 96x96 and 224x224: numpy's calls
cost half of torch's, torch has the faster loops for floor, clamp and lookups.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["CHUNK", "Chunk", "Frame", "Pixels", "Plane", "Scratch", "Work", "as_levels"]

CHUNK = 1 << 16
"""Pixels to work on at once: some ten float32 planes of them fit in a core's L2 cache or nearly so. The sum of as many
levels is below 2**24, so float32 sums are exact in whatever order."""

_KEPT_BYTES = 1 << 25
"""How much memory for images a thread keeps from one image to the next."""

_KEPT_SIZES = 16
"""For how many lengths a thread keeps its buffers cut to size."""


class Plane(NamedTuple):
    """One piece of memory, seen by numpy and by torch."""

    array: NDArray[Any]
    tensor: Tensor


class Chunk(NamedTuple):
    """A run of n pixels of an image, float32."""

    all: Plane
    """(3, n)."""
    red: Plane
    green: Plane
    blue: Plane


class Work(NamedTuple):
    """Buffers for what is computed about n pixels; their contents are nobody's from one operation to the next."""

    all: Plane
    """float32 (3, n)."""
    first: Plane
    """float32 (n,), as the next three."""
    second: Plane
    third: Plane
    fourth: Plane
    indices: Plane
    """int32 (n,)."""
    byte: Plane
    """uint8 (n,)."""


class Frame:
    """Memory for the planes of one image, float32 (3, H, W).

    Args:
        height: in pixels.
        width: in pixels.
    """

    def __init__(self, height: int, width: int) -> None:
        self.all = _plane(torch.empty((3, height, width)))
        self.chunks = _chunks(self.all.tensor.view(3, height * width))


class Scratch:
    """Memory of one thread, handed out again for each image.

    Args:
        pillow_resize: whether this thread resizes by Pillow.
    """

    def __init__(self, *, pillow_resize: bool = False) -> None:
        self.pillow_resize = pillow_resize
        self._frames: dict[tuple[int, int], list[Frame]] = {}
        self._used: dict[tuple[int, int], int] = {}
        self._bytes = 0
        self._works: dict[int, Work] = {}
        self._buffers: list[Plane] = []
        self._levels = torch.empty(0, dtype=torch.uint8)

    def reset(self) -> None:
        """Takes back all frames: the image that used them is finished."""
        self._used.clear()
        if self._bytes > _KEPT_BYTES:
            self._frames.clear()
            self._bytes = 0

    def frame(self, height: int, width: int) -> Frame:
        """A frame that nobody else has until `reset`."""
        size = height, width
        frames = self._frames.setdefault(size, [])
        used = self._used.get(size, 0)
        if used == len(frames):
            frames.append(Frame(height, width))
            self._bytes += frames[-1].all.array.nbytes
        self._used[size] = used + 1
        return frames[used]

    def work(self, length: int) -> Work:
        """Buffers for a chunk of `length` pixels, the same at each call."""
        if length not in self._works:
            if len(self._works) >= _KEPT_SIZES:
                self._works.clear()
            self._works[length] = _work(length)
        return self._works[length]

    def buffer(self, number: int, length: int) -> Plane:
        """float32 (length,): one of several buffers, the same memory at each call with the same number.

        It holds what was last written, at first zeros: where a pass also runs over values that nobody needs, they are
        finite at least.
        """
        while len(self._buffers) <= number:
            self._buffers.append(_plane(torch.empty(0)))
        if len(self._buffers[number].array) < length:
            self._buffers[number] = _plane(torch.zeros(length))
        array, tensor = self._buffers[number]
        return Plane(array[:length], tensor[:length])

    def levels(self, shape: torch.Size) -> Tensor:
        """uint8 of this shape, the same memory at each call."""
        length = shape.numel()
        if len(self._levels) < length:
            self._levels = torch.empty(length, dtype=torch.uint8)
        return self._levels[:length].view(shape)


class Pixels:
    """One image, as uint8 levels or as float32 planes, whichever the last operation left.

    Args:
        levels: uint8 (3, H, W), best in channels-last order. Never written to.
    """

    __slots__ = ("_frame", "_levels", "height", "width")

    def __init__(self, levels: Tensor) -> None:
        self._levels: Tensor | None = levels
        self._frame: Frame | None = None
        self.height = levels.shape[1]
        self.width = levels.shape[2]

    @property
    def in_planes(self) -> bool:
        """True if the image is there as float32 planes."""
        return self._frame is not None

    def levels(self) -> Tensor:
        """uint8 (3, H, W) in channels-last order, or as it was given. To be read only."""
        if self._levels is None:
            assert self._frame is not None
            planar = self._frame.all.array.astype(np.uint8)
            levels = np.empty((self.height, self.width, 3), np.uint8)
            for channel in range(3):  # in one call numpy's inner loop would be three pixels long: thrice the time
                levels[..., channel] = planar[channel]
            self._levels = torch.from_numpy(levels).permute(2, 0, 1)
        return self._levels

    def planes(self, scratch: Scratch) -> Tensor:
        """float32 (3, H, W) of whole numbers from 0 to 255, contiguous. To be read only, until `scratch.reset()`."""
        return self._filled(scratch).all.tensor

    def edit(self, scratch: Scratch) -> Frame:
        """The planes, to be written to, with whole numbers from 0 to 255."""
        frame = self._filled(scratch)
        self._levels = None
        return frame

    def redraw(self, scratch: Scratch) -> Frame:
        """Other planes of the same size, all to be written to; the old ones stay as they are until `reset`."""
        self._levels, self._frame = None, scratch.frame(self.height, self.width)
        return self._frame

    def replace(self, levels: Tensor) -> None:
        """Puts another image in the place of this one, uint8 (3, H, W)."""
        self._levels, self._frame = levels, None
        self.height, self.width = levels.shape[1:]

    def copy(self, scratch: Scratch) -> Pixels:
        """The same image, which can be changed without changing this one."""
        other = Pixels.__new__(Pixels)
        other.height, other.width = self.height, self.width
        other._levels, other._frame = self._levels, None
        if self._levels is None:
            assert self._frame is not None
            other._frame = scratch.frame(self.height, self.width)
            np.copyto(other._frame.all.array, self._frame.all.array)
        return other

    def _filled(self, scratch: Scratch) -> Frame:
        if self._frame is None:
            assert self._levels is not None
            self._frame = scratch.frame(self.height, self.width)
            np.copyto(self._frame.all.array, self._levels.numpy())
        return self._frame


def as_levels(image: NDArray[np.uint8]) -> Tensor:
    """uint8 (3, H, W) over the memory of an image (H, W, 3), which stays alive with it. To be read only.

    torch has no read-only tensors and warns of read-only arrays, such as those over `bytes`: it is shown one that is
    not marked so.
    """
    return torch.from_numpy(image if image.flags.writeable else np.asarray(_Unmarked(image))).permute(2, 0, 1)


class _Unmarked:
    """An array's memory without the mark that it is read-only (numpy's array interface, version 3)."""

    def __init__(self, array: NDArray[np.uint8]) -> None:
        interface = array.__array_interface__
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}
        self._array = array  # numpy keeps this object alive, and so the memory


def _plane(tensor: Tensor) -> Plane:
    return Plane(tensor.numpy(), tensor)


def _chunks(planes: Tensor) -> tuple[Chunk, ...]:
    """Cuts (3, N) into runs of the same length, but the last."""
    count = -(-planes.shape[1] // CHUNK)
    length = -(-planes.shape[1] // count)
    chunks = []
    for start in range(0, planes.shape[1], length):
        part = planes[:, start : start + length]
        red, green, blue = part.unbind(0)
        chunks.append(Chunk(_plane(part), _plane(red), _plane(green), _plane(blue)))
    return tuple(chunks)


def _work(length: int) -> Work:
    first, second, third, fourth = (_plane(torch.empty(length)) for _ in range(4))
    indices = _plane(torch.empty(length, dtype=torch.int32))
    byte = _plane(torch.empty(length, dtype=torch.uint8))
    return Work(_plane(torch.empty((3, length))), first, second, third, fourth, indices, byte)
