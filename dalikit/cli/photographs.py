"""Photographs to try a loader on, where there are none: cut and scaled from those in scikit-image's wheel."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from dalikit.errors import DatasetNotFoundError

__all__ = ["make_photographs"]

_NAMES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "hubble_deep_field.jpg")
_GRAY_NAMES = ("camera.png", "coins.png")
_LONG_SIDES = (400, 500, 500, 500, 500)  # ImageNet's are mostly 500 pixels on the long side
_QUALITY = 96
_GRAIN = 4.0  # levels; scaling softens, a sensor does not: with it a file has about ImageNet's bytes
_SEED = 20_240_229


def make_photographs(root: Path, count: int) -> Path:
    """Makes `count` JPEG files in root/class/, one class a photograph; what is there already is left.

    Sizes, bytes and a share of gray images are like ImageNet's. The same files every time.

    Raises:
        DatasetNotFoundError: scikit-image, whose wheel holds the photographs, is not installed.
    """
    sources = _sources()
    generator = np.random.default_rng(_SEED)
    for number in tqdm(range(count), desc="making photographs", unit="image"):
        source = sources[number % len(sources)]
        image = _cut(source, generator)
        path = root / source.stem / f"{source.stem}_{number:04d}.jpg"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(".part")
            image.save(unfinished, format="JPEG", quality=_QUALITY)
            unfinished.replace(path)
    return root


def _sources() -> list[Path]:
    found = importlib.util.find_spec("skimage")
    if found is None or not found.submodule_search_locations:
        raise DatasetNotFoundError(
            "the demo's photographs come with scikit-image, which is not installed: pip install 'dalikit[demo]', "
            "or give a folder of your own: dalikit demo --data DIR"
        )
    folder = Path(next(iter(found.submodule_search_locations))) / "data"
    return [path for name in (*_NAMES, *_GRAY_NAMES) if (path := folder / name).exists()]


def _cut(source: Path, generator: np.random.Generator) -> Image.Image:
    """A random part of a photograph, between 55 % and all of each side, scaled to a size like ImageNet's."""
    with Image.open(source) as file:
        image = file.convert("L" if source.name in _GRAY_NAMES else "RGB")
    width, height = (round(side * generator.uniform(0.55, 1.0)) for side in image.size)
    left = int(generator.integers(0, image.width - width + 1))
    top = int(generator.integers(0, image.height - height + 1))
    long_side = int(generator.choice(_LONG_SIDES))
    scale = long_side / max(width, height)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    image = image.resize(size, Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))
    levels = np.asarray(image)
    grainy = levels + generator.normal(0.0, _GRAIN, levels.shape[:2] + (1,) * (levels.ndim - 2))
    return Image.fromarray(grainy.round().clip(0, 255).astype(np.uint8))
