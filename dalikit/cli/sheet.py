"""A contact sheet: what the model gets, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

__all__ = ["write_contact_sheet"]

_GAP = 6
_CAPTION = 14
_BACKGROUND = (250, 250, 250)
_INK = (40, 40, 40)


def write_contact_sheet(
    path: Path,
    images: Tensor,
    captions: Sequence[str],
    *,
    columns: int,
    mean: Sequence[float],
    std: Sequence[float],
) -> None:
    """Writes normalized images in rows of `columns`, a caption below each, as a PNG.

    Args:
        path: of the PNG.
        images: (B, 3, H, W), normalized by mean and std on the scale of 0 to 1.
        captions: B of them; cut to the image's width.
        columns: images in a row.
        mean: one number a channel.
        std: one number a channel.
    """
    values = images.detach().float().cpu() * torch.tensor(std)[:, None, None] + torch.tensor(mean)[:, None, None]
    levels = values.mul(255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    height, width = levels.shape[1:3]
    rows = -(-len(levels) // columns)
    cell_width, cell_height = width + _GAP, height + _CAPTION + _GAP
    sheet = Image.new("RGB", (columns * cell_width + _GAP, rows * cell_height + _GAP), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for number, (image, caption) in enumerate(zip(levels, captions, strict=True)):
        row, column = divmod(number, columns)
        left, top = _GAP + column * cell_width, _GAP + row * cell_height
        sheet.paste(Image.fromarray(image.numpy()), (left, top))
        draw.text((left, top + height + 1), caption[: width // 6], fill=_INK)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
