"""torchvision, for peers that run its transforms; not among dalikit's dependencies."""

from __future__ import annotations

import importlib
from typing import Any

import torch

__all__ = ["import_torchvision"]

_KEPT: list[torch.library.Library] = []


def import_torchvision() -> Any:
    """The module torchvision.

    Its compiled operators are built against one torch. Beside another (a CPU build, say) they cannot be loaded, and the
    import fails where it registers what their outputs look like. The transforms need none of them, so they are declared
    here.

    Raises:
        ImportError: it is not installed.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _KEPT.append(library)  # what it declares ends with it
    return importlib.import_module("torchvision")
