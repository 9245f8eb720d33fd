"""What one item of a dataset is: where in it the image is, and what is left without it.

Items are whatever datasets give: an image, (image, target), dicts, longer tuples, nests of them. Neither Pillow nor
torch is imported here: what has not been imported has made no item.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dalikit.errors import ArgumentError, DecodeError
from dalikit.signatures import is_encoded_image

__all__ = [
    "PAIR",
    "Layout",
    "as_encoded",
    "as_pixels",
    "describe_item",
    "find_image",
    "find_only_bytes",
    "holds_bytes",
    "is_bytes",
    "is_tensor",
    "rebuilt",
    "with_parts",
]

_PLACEHOLDER = 0
"""Stands where the image was, so that what is left keeps its form and can be collated."""
_SHOWN_BYTES = 12
_SHOWN_PARTS = 8
_SHOWN_DEPTH = 3
_SHOWN_PLACES = 6


@dataclass(frozen=True, slots=True)
class Layout:
    """Where in an item the image is. Frozen, picklable."""

    path: tuple[Any, ...]
    """Keys and places from the outside in; (): the item is the image itself."""
    bare_pair: bool = False
    """The item is a tuple (image, target): what is left is the target itself."""
    in_tuple: bool = False
    """The item is a plain tuple: so is the batch, though torch's default_collate makes a list of it."""

    def __str__(self) -> str:
        """As an expression: "item", "item[0]" or "item['jpg']"."""
        return "item" + "".join(f"[{key!r}]" for key in self.path)

    def take(self, item: Any) -> tuple[Any, Any]:
        """An item's image, and what is left without it.

        Returns:
            The image, as it is; and the target of a bare pair, None of a bare image, otherwise the same containers with
            0 in the image's place. The item itself is not changed.

        Raises:
            ArgumentError: the item has nothing in the image's place.
        """
        if self.bare_pair:
            if type(item) is not tuple or len(item) != 2:
                raise ArgumentError(f"an item of the dataset is no tuple (image, target) but {describe_item(item)}")
            return item
        image = item
        for key in self.path:
            image = _part(image, key)
            if image is _NOTHING:
                raise ArgumentError(f"an item of the dataset has no {self}: it is {describe_item(item)}")
        return image, _replaced(item, self.path, _PLACEHOLDER) if self.path else None

    def put(self, rest: Any, image: Any) -> Any:
        """The item again, with this image in its place: what `take` gave, put together."""
        if self.bare_pair:
            return image, rest
        return _replaced(rest, self.path, image)

    def bundle(self, rest: Any, images: Any) -> Any:
        """A batch: the images in their place in what is left of the items, collated.

        Args:
            rest: what torch's default_collate made of the items' rests, or any nest of that form.
            images: of the batch.

        Returns:
            Of bare images the images, of tuples a tuple, of dicts a dict with its keys in the same order, and so on.
        """
        whole = self.put(rest, images)
        return tuple(whole) if self.in_tuple and isinstance(whole, list) else whole


PAIR = Layout((0,), bare_pair=True)
"""(image, target), as datasets with `get_image_data` and `get_target` have it."""


class _Candidate(NamedTuple):
    path: tuple[Any, ...]
    leaf: Any
    certainty: int
    """0: an encoded or a PIL image; 1, 2: an array with three channels, with one; 3: an array (H, W)."""


_ENCODED_OR_PIL = 0
_ONE_CHANNEL = 2


def find_image(item: Any, *, encoded: bool | None, transformed: bool) -> tuple[Layout, bool] | None:
    """Looks for the image in an item: a tuple, list, named tuple or mapping of any depth, or the image itself.

    An image is, if several kinds are present the first of
    1. bytes of an image file (bytes, bytearray, memoryview, a 1-D uint8 array or tensor), or a PIL image;
    2. a uint8 array (H, W, 3) or a uint8 tensor (3, H, W);
    3. a uint8 array (H, W, 1) or a uint8 tensor (1, H, W);
    4. a uint8 array (H, W).

    Those of the last two kinds may as well be masks: they are no images beside something that has an image's shape, but
    a form that is none (float, say).

    Args:
        item: what the dataset gave.
        encoded: None: bytes are an image if they begin as an image file does (see `is_encoded_image`); True: whatever
            they begin with, unless there are several, of which one begins so; False: never.
        transformed: whether images are transformed: if not, only encoded ones are images, the rest is data.

    Returns:
        Where it is, and whether it comes decoded; None: the item holds no image.

    Raises:
        ArgumentError: there are several that are equally likely, or only what may be a mask beside an image in a form
            that is not transformed.
    """
    found = [candidate for path, leaf in _leaves(item, ()) if (candidate := _judge(path, leaf, encoded, transformed))]
    if not found:
        return None
    strongest = min(candidate.certainty for candidate in found)
    found = [candidate for candidate in found if candidate.certainty == strongest]
    if encoded and strongest == _ENCODED_OR_PIL and len(found) > 1:
        found = [one for one in found if not is_bytes(one.leaf) or is_encoded_image(as_encoded(one.leaf))]
        if not found:
            return None  # several pieces of bytes, none of which can be told to be the image
    if len(found) > 1:
        raise _ambiguous(found)
    if strongest >= _ONE_CHANNEL:
        _refuse_mask(item, found[0])
    return _layout_of(item, found[0].path), not is_bytes(found[0].leaf)


def holds_bytes(item: Any) -> bool:
    """Whether there are bytes in an item: encoded data, though perhaps none that begins as an image does."""
    return any(is_bytes(leaf) for _, leaf in _leaves(item, ()))


def find_only_bytes(item: Any) -> Layout | None:
    """Where the only bytes in an item are, whatever they begin with; None: there are none, or several pieces."""
    paths = [path for path, leaf in _leaves(item, ()) if is_bytes(leaf)]
    return _layout_of(item, paths[0]) if len(paths) == 1 else None


def _judge(path: tuple[Any, ...], leaf: Any, encoded: bool | None, transformed: bool) -> _Candidate | None:
    certainty: int | None = None
    if is_bytes(leaf):
        if encoded or (encoded is None and is_encoded_image(as_encoded(leaf))):
            certainty = _ENCODED_OR_PIL
    elif transformed:
        certainty = _ENCODED_OR_PIL if _is_pil(leaf) else _certainty_of_array(leaf)
    return None if certainty is None else _Candidate(path, leaf, certainty)


def _layout_of(item: Any, path: tuple[Any, ...]) -> Layout:
    if type(item) is tuple and len(item) == 2 and path == (0,):
        return PAIR
    return Layout(path, in_tuple=bool(path) and isinstance(item, tuple) and not hasattr(item, "_fields"))


def _ambiguous(found: list[_Candidate]) -> ArgumentError:
    places = [str(Layout(one.path)) for one in found]
    shown = places[:_SHOWN_PLACES] + [f"{len(places) - _SHOWN_PLACES} more"] * (len(places) > _SHOWN_PLACES)
    advice = "leave out the others, or decode them in the dataset to arrays or tensors of another dtype than uint8"
    if any(is_bytes(one.leaf) for one in found):
        advice += "; encoded=False hands all bytes on as they are"
    if len(found) > _SHOWN_PLACES:
        advice += ". If the item is a batch already (webdataset's .batched()), leave that out and give batch_size"
    return ArgumentError(
        f"an item of the dataset holds {len(found)} images, of which the loader cannot tell which one it is to decode "
        f"and transform: {', '.join(shown[:-1])} and {shown[-1]}. It takes one image an item: {advice}"
    )


def _refuse_mask(item: Any, found: _Candidate) -> None:
    """Raises if there is an image in the item that the loader cannot take, of which this one may be the mask."""
    for path, leaf in _leaves(item, ()):
        if path != found.path and _has_image_shape(leaf):
            raise ArgumentError(
                f"an item of the dataset holds {_shaped(leaf)} at {Layout(path)}, which has the shape of an image but "
                f"is none for the loader, and {_shaped(found.leaf)} at {Layout(found.path)}, which may be its mask: "
                "which is to be transformed? Give the image as uint8, an array (H, W, 3) or a tensor (3, H, W); "
                "if it is the one of one channel, repeat that to three"
            )


def _has_image_shape(value: Any) -> bool:
    """Whether it is a picture, channels first or last, of any dtype; of uint8 perhaps with an alpha channel."""
    if not (isinstance(value, np.ndarray) or is_tensor(value)) or value.ndim != 3:
        return False
    channels = {3, 4} if _is_uint8(value) else {3}
    return value.shape[0] in channels or value.shape[-1] in channels


# Containers


def _leaves(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """All that is in a nest, with its path."""
    if isinstance(value, Mapping):
        for key in value:
            yield from _leaves(value[key], (*path, key))
    elif isinstance(value, tuple | list):
        for place, part in enumerate(value):
            yield from _leaves(part, (*path, place))
    else:
        yield path, value


_NOTHING: Any = object()


def _part(container: Any, key: Any) -> Any:
    """What a container has under a key or at a place, or `_NOTHING`."""
    if isinstance(container, Mapping):
        return container.get(key, _NOTHING)
    if isinstance(container, tuple | list):
        return container[key] if isinstance(key, int) and key < len(container) else _NOTHING
    return _NOTHING


def _replaced(value: Any, path: Sequence[Any], leaf: Any) -> Any:
    """A copy of the containers along a path, with another leaf at its end."""
    if not path:
        return leaf
    return with_parts(value, {path[0]: _replaced(value[path[0]], path[1:], leaf)})


def with_parts(value: Any, parts: dict[Any, Any]) -> Any:
    """A copy of a container with some other parts, by key or place."""
    if isinstance(value, tuple):
        whole = tuple(parts.get(place, part) for place, part in enumerate(value))
        named: Any = type(value)
        return named._make(whole) if hasattr(named, "_fields") else rebuilt(value, whole)
    if isinstance(value, Mapping) and not isinstance(value, MutableMapping):
        return rebuilt(value, {**value, **parts})
    clone = copy.copy(value)  # a mapping may have more than its keys
    for key, part in parts.items():
        clone[key] = part
    return clone


def rebuilt(value: Any, parts: Any) -> Any:
    """Parts as the type of the container that they come from, or, if that takes none, as they are."""
    if type(value) is type(parts):
        return parts
    try:
        return type(value)(parts)
    except TypeError:
        return parts


# Leaves


def _is_pil(value: Any) -> bool:
    module: Any = sys.modules.get("PIL.Image")
    return module is not None and isinstance(value, module.Image)


def is_tensor(value: Any) -> bool:
    """Whether it is torch's, without importing that."""
    module: Any = sys.modules.get("torch")
    return module is not None and isinstance(value, module.Tensor)


def _is_uint8(value: Any) -> bool:
    """Whether it is an array or a tensor of uint8."""
    if isinstance(value, np.ndarray):
        return bool(value.dtype == np.uint8)
    return is_tensor(value) and str(value.dtype) == "torch.uint8"


def is_bytes(value: Any) -> bool:
    """Whether it may be the bytes of a file: bytes, bytearray, memoryview, a 1-D uint8 array or tensor."""
    return isinstance(value, bytes | bytearray | memoryview) or (_is_uint8(value) and value.ndim == 1)


def _certainty_of_array(value: Any) -> int | None:
    """How sure it is that an array or tensor is an image, by its shape; None: it is none."""
    if not _is_uint8(value):
        return None
    if value.ndim == 2:
        return 3 if isinstance(value, np.ndarray) else None
    if value.ndim != 3:
        return None
    channels = value.shape[-1] if isinstance(value, np.ndarray) else value.shape[0]
    return {3: 1, 1: 2}.get(int(channels))


def as_encoded(image: Any) -> npt.NDArray[np.uint8]:
    """The bytes of an encoded image: uint8 (n,), contiguous, without a copy where that can be; it may be read-only.

    So nobody may write to the image's memory as long as the bytes are used.

    Raises:
        ArgumentError: it is none of bytes, bytearray, memoryview, a 1-D uint8 array or tensor.
    """
    if not is_bytes(image):
        raise ArgumentError(
            f"no bytes of an image but {describe_item(image)}: must be bytes, or a 1-D uint8 array or tensor"
        )
    if is_tensor(image):
        image = image.detach().cpu().numpy()
    elif isinstance(image, memoryview) and not image.c_contiguous:
        image = image.tobytes()
    return np.ascontiguousarray(image) if isinstance(image, np.ndarray) else np.frombuffer(image, dtype=np.uint8)


def as_pixels(image: Any) -> npt.NDArray[np.uint8]:
    """A decoded image as uint8 (H, W, 3), RGB, contiguous; without a copy where that can be, so it may be read-only.

    PIL images are converted by `convert("RGB")`, into memory of their own; one channel is repeated. Nobody may write to
    the memory of any other image as long as the pixels are used.

    Raises:
        ArgumentError: it is none of a PIL image, a uint8 array (H, W, 3), (H, W, 1) or (H, W), a uint8 tensor
            (3, H, W) or (1, H, W).
        DecodeError: it has no pixels, or Pillow, which reads files when they are needed, cannot decode it.
    """
    if _is_pil(image):
        pixels = _pixels_of_pil(image)
    elif _certainty_of_array(image) is None:
        raise ArgumentError(
            f"no decoded image but {describe_item(image)}: must be a PIL image, a uint8 array (H, W, 3), (H, W, 1) or "
            "(H, W), or a uint8 tensor (3, H, W) or (1, H, W)"
        )
    else:
        pixels = image.detach().cpu().numpy().transpose(1, 2, 0) if is_tensor(image) else image
    height, width = pixels.shape[:2]
    if height == 0 or width == 0:
        raise DecodeError(f"an image of {height}x{width} pixels (height x width)")
    if pixels.shape[2:] != (3,):
        pixels = np.broadcast_to(pixels.reshape(height, width, 1), (height, width, 3))
    return np.ascontiguousarray(pixels)


def _pixels_of_pil(image: Any) -> npt.NDArray[np.uint8]:
    if 0 in image.size:
        return np.empty((image.height, image.width, 3), dtype=np.uint8)
    try:
        return np.asarray(image.convert("RGB"))
    except Exception as error:  # Pillow's decoders raise nearly anything on broken bytes
        raise DecodeError(f"the image cannot be decoded by Pillow: {error}") from error


# Words


def describe_item(item: Any) -> str:
    """What an item is, for messages: "tuple (bytes of 2048 beginning with b'...', int)"."""
    return _described(item, _SHOWN_DEPTH)


def _described(value: Any, depth: int) -> str:
    name = type(value).__name__
    if isinstance(value, Mapping):
        return f"{name} {{{_parts([(f'{key!r}: ', value[key]) for key in value], depth)}}}"
    if isinstance(value, tuple | list):
        return f"{name} ({_parts([('', part) for part in value], depth)})"
    if is_bytes(value):
        return _described_bytes(value)
    if _is_pil(value):
        return f"PIL image {value.mode} of {value.height}x{value.width} (height x width)"
    return _shaped(value) if isinstance(value, np.ndarray) or is_tensor(value) else name


def _described_bytes(value: Any) -> str:
    name, data = type(value).__name__, as_encoded(value)
    if len(data) == 0:
        return f"{name} without a byte"
    kind = f"{name} of {len(data)}" if isinstance(value, bytes | bytearray | memoryview) else _shaped(value)
    return f"{kind} beginning with {data[:_SHOWN_BYTES].tobytes()!r}"


def _shaped(value: Any) -> str:
    return f"{type(value).__name__} of {str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"


def _parts(parts: list[tuple[str, Any]], depth: int) -> str:
    if depth == 0:
        return "..."
    words = [label + _described(part, depth - 1) for label, part in parts[:_SHOWN_PARTS]]
    return ", ".join(words + ["..."] * (len(parts) > _SHOWN_PARTS))
