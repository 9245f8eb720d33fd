"""How the transform classes of torchvision, DINOv2 and DINOv3 are read, one by one.

Both of torchvision's APIs are known, `transforms` and `transforms.v2`; where they keep an argument in different forms,
both are read. None of the libraries is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any, NamedTuple

from dalikit.errors import ArgumentError
from dalikit.transforms.base import Transform
from dalikit.transforms.colour import (
    ColorJitter,
    Grayscale,
    RandomAdjustSharpness,
    RandomAutocontrast,
    RandomEqualize,
    RandomGrayscale,
    RandomInvert,
    RandomPosterize,
    RandomSolarize,
)
from dalikit.transforms.compose import Compose
from dalikit.transforms.containers import RandomApply, RandomChoice, RandomOrder
from dalikit.transforms.conversion import ConvertImageDtype, Normalize, PILToTensor, ToDtype, ToImage, ToTensor
from dalikit.transforms.dino import multi_crop
from dalikit.transforms.erasing import RandomErasing
from dalikit.transforms.filters import GaussianBlur
from dalikit.transforms.geometry import (
    CenterCrop,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomVerticalFlip,
    Resize,
)
from dalikit.transforms.mixing import CutMix, MixUp
from dalikit.transforms.policies import AugMix, AutoAugment, RandAugment, TrivialAugmentWide
from dalikit.transforms.warps import Pad, RandomAffine, RandomPerspective, RandomRotation

__all__ = ["BASES", "READERS", "REASONS", "Reader", "Source", "read_nothing", "read_sequential"]

_NOTHING = Compose(())


class Source(NamedTuple):
    """An object that is being read."""

    convert: Callable[[Any, str], Transform]
    """Converts a part, given with its place."""
    transform: Any
    place: str
    """Such as "transforms[3].transforms[1]"; empty for the whole."""
    on_tensors: bool = False
    """Whether a conversion to tensors came before it; PIL images otherwise."""

    def read(self, name: str) -> Any:
        """An attribute."""
        try:
            return getattr(self.transform, name)
        except AttributeError:
            raise ArgumentError(f"it has no attribute {name!r}; this version of its library is not known") from None

    def part(self, name: str) -> Transform:
        """An attribute that is a transform itself."""
        return self.convert(self.read(name), f"{self.place}.{name}".removeprefix("."))

    def parts(self, name: str = "transforms") -> list[Transform]:
        """An attribute that is a list of transforms."""
        value = self.read(name)
        if not isinstance(value, Iterable):
            raise ArgumentError(f"{name} is a {type(value).__name__}: must be a list of transforms")
        return self.all_of(value, name)

    def all_of(self, transforms: Iterable[Any], name: str = "") -> list[Transform]:
        """Several transforms."""
        path = f"{self.place}.{name}".removeprefix(".").removesuffix(".")
        return [self.convert(part, f"{path}[{place}]") for place, part in enumerate(transforms)]

    def argument(self, name: str) -> Any:
        """A constructor's argument, from the attribute of its name."""
        value = self.read(name)
        if name in ("fill", "dtype"):
            value = _for_images(name, value)
        if name == "antialias" and (value == "warn" or not self.on_tensors):
            return True  # "warn": torchvision 0.15 and 0.16, not given; and Pillow always widens its filter
        return value


Reader = Callable[[Source], Transform]


def _for_images(name: str, value: Any) -> Any:
    """What counts for images in v2's {type: value}; None if nothing does."""
    if not isinstance(value, Mapping):
        return value
    chosen = [each for key, each in value.items() if getattr(key, "__name__", "") in ("Image", "Tensor")]
    chosen = chosen or [value.get("others")]
    if any(each != chosen[0] for each in chosen):
        raise ArgumentError(f"{name}={value!r}: must be the same for every kind of image, which is one here")
    return chosen[0]


def _same(kind: type[Transform], **kept: Callable[[Source], Any]) -> Reader:
    """For objects that keep the constructor's arguments in attributes of their names, or as `kept` says."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]

    def read(source: Source) -> Transform:
        arguments = {name: kept[name](source) if name in kept else source.argument(name) for name in names}
        if arguments.get("fill", ()) is None:
            del arguments["fill"]  # not given
        return kind(**arguments)

    return read


def read_nothing(source: Source) -> Transform:
    """For what changes nothing here."""
    del source
    return _NOTHING


def read_sequential(source: Source) -> Transform:
    """For a container that is iterated over."""
    return Compose(source.all_of(source.transform))


def _read_padding(source: Source) -> Any:
    padding = source.argument("padding")
    kinds = type(source.transform).__mro__
    if padding is None or not any(kind.__module__.startswith("torchvision.transforms.v2.") for kind in kinds):
        return padding
    left, right, top, bottom = padding  # v2's RandomCrop keeps this order; its argument has another
    return left, top, right, bottom


def _read_erased_value(source: Source) -> Any:
    value = source.argument("value")
    return "random" if value is None else value  # v2 keeps None for it


def _read_to_dtype(source: Source) -> Transform:
    dtype = source.argument("dtype")
    return _NOTHING if dtype is None else ToDtype(dtype, scale=source.argument("scale"))  # v2's {type: None}


def _read_choice(source: Source) -> Transform:
    weights = source.read("p")
    if weights is not None and len(set(weights)) == 1:
        weights = None  # v2 keeps equal weights for "not given"
    return RandomChoice(source.parts(), p=weights)


def _read_to_tensor(source: Source) -> Transform:
    del source
    return ToTensor()


def _read_mixing(kind: Callable[..., Transform]) -> Reader:
    def read(source: Source) -> Transform:
        getter = getattr(source.transform, "_labels_getter", None)
        if getattr(getter, "__name__", "") != "_find_labels_default_heuristic":
            raise ArgumentError(f"labels_getter={getter!r}: must be 'default'; the batch's targets are the labels here")
        return kind(alpha=source.read("alpha"), num_classes=source.read("num_classes"))

    return read


def _read_weights_preset(source: Source) -> Transform:
    """torchvision's `weights.transforms()`."""
    resize = Resize(
        source.read("resize_size"), source.argument("interpolation"), antialias=source.argument("antialias")
    )
    crop, normalize = CenterCrop(source.read("crop_size")), Normalize(source.read("mean"), source.read("std"))
    return Compose([resize, crop, PILToTensor(), ConvertImageDtype(), normalize])


def _read_dinov2(source: Source) -> Transform:
    return multi_crop(*_dino_crops(source), source.read("local_crops_number"))


def _dino_crops(source: Source) -> tuple[list[Transform], Transform]:
    """What makes the global crops and a local one."""
    box, local_box = source.part("geometric_augmentation_global"), source.part("geometric_augmentation_local")
    crops: list[Transform] = [Compose([box, source.part(f"global_transfo{number}")]) for number in (1, 2)]
    return crops, Compose([local_box, source.part("local_transfo")])


_DINOV3_REFUSED = {
    "gram_teacher_crops_size": "the gram teacher's crops share the boxes of the global ones",
    "teacher_no_color_jitter": "the teacher's crops share the boxes of the global ones",
    "local_crops_subset_of_global_crops": "the local crops are cut out of the global ones",
}


def _read_dinov3(source: Source) -> Transform:
    for name, reason in _DINOV3_REFUSED.items():
        value = getattr(source.transform, name, None)
        if value is not None and value is not False:
            raise ArgumentError(f"{name}={value!r}: {reason}, but here every view draws its own")
    crops = multi_crop(*_dino_crops(source), source.read("local_crops_number"), weak_flag=True)
    if source.read("share_color_jitter"):
        return Compose([source.part("color_jittering"), crops])
    return crops


_SAME: tuple[type[Transform], ...] = (
    AugMix,
    AutoAugment,
    CenterCrop,
    ColorJitter,
    ConvertImageDtype,
    GaussianBlur,
    Grayscale,
    Normalize,
    PILToTensor,
    Pad,
    RandAugment,
    RandomAdjustSharpness,
    RandomAffine,
    RandomAutocontrast,
    RandomEqualize,
    RandomGrayscale,
    RandomHorizontalFlip,
    RandomInvert,
    RandomPerspective,
    RandomPosterize,
    RandomResizedCrop,
    RandomRotation,
    RandomSolarize,
    RandomVerticalFlip,
    Resize,
    ToImage,
    ToTensor,
    TrivialAugmentWide,
)

TENSOR_MAKERS = ("ImageClassification", "MaybeToTensor", "PILToTensor", "ToImage", "ToTensor")
"""Classes after which images are tensors. (ToDtype and ConvertImageDtype take what is a tensor already.)"""

BASES = ("RandomTransforms", "Transform", "_AutoAugmentBase", "_BaseMixUpCutMix", "_RandomApplyTransform")
"""torchvision's classes that others are derived from."""

READERS: dict[tuple[str, str], Reader] = {
    **{("torchvision.transforms", kind.__name__): _same(kind) for kind in _SAME},
    ("torchvision.transforms", "Compose"): lambda source: Compose(source.parts()),
    ("torchvision.transforms", "CutMix"): _read_mixing(CutMix),
    ("torchvision.transforms", "Identity"): read_nothing,
    ("torchvision.transforms", "ImageClassification"): _read_weights_preset,
    ("torchvision.transforms", "MixUp"): _read_mixing(MixUp),
    ("torchvision.transforms", "RGB"): read_nothing,  # images are RGB from the beginning
    ("torchvision.transforms", "RandomApply"): lambda source: RandomApply(source.parts(), p=source.read("p")),
    ("torchvision.transforms", "RandomChoice"): _read_choice,
    ("torchvision.transforms", "RandomCrop"): _same(RandomCrop, padding=_read_padding),
    ("torchvision.transforms", "RandomErasing"): _same(RandomErasing, value=_read_erased_value),
    ("torchvision.transforms", "RandomOrder"): lambda source: RandomOrder(source.parts()),
    ("torchvision.transforms", "ToDtype"): _read_to_dtype,
    ("torchvision.transforms", "ToPureTensor"): read_nothing,
    ("dinov2.data", "DataAugmentationDINO"): _read_dinov2,
    ("dinov2.data", "MaybeToTensor"): _read_to_tensor,
    ("dinov3.data", "DataAugmentationDINO"): _read_dinov3,
}
for _library in ("dinov2.data", "dinov3.data"):
    # It hands 1 - p on to the RandomApply that it is: what stands in its attributes is what happens.
    READERS[_library, "GaussianBlur"] = READERS["torchvision.transforms", "RandomApply"]

REASONS = {
    "Lambda": "what its function does is not known here",
    "ToPILImage": "images are decoded RGB here from the beginning; leave it out if it stands at the beginning",
}
