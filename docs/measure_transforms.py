"""Measures how far both executors are from torchvision on Pillow, and writes what was found.

    make docs                                         64 photographs cut from scikit-image's
    python docs/measure_transforms.py --data DIR --called "photographs of ImageNet"

It writes docs/transforms.md (from transforms.in.md), the pictures in docs/transforms/ and the numbers behind
`dalikit.transforms.describe`, dalikit/transforms/measured.py. With `--device cuda` there is a further column.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tqdm import tqdm
from transform_measuring import Measured, executor_makers, measure, squares
from transform_page import write_measured, write_page
from transform_pictures import write_pictures
from transform_rows import ROWS

from dalikit.cli.photographs import make_photographs

_COUNT = 64
_PICTURED = 16


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of photographs, with folders; default: scikit-image's")
    parser.add_argument("--called", default="photographs", help="what they are, for the page: 'photographs of ...'")
    parser.add_argument("--device", help="also measure the DALI graph there, such as cuda")
    return parser.parse_args()


def main() -> None:
    """Measures, and writes everything at the end."""
    arguments = _arguments()
    makers = executor_makers(arguments.device)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        called = arguments.called if arguments.data else "photographs cut from scikit-image's"
        root = arguments.data or make_photographs(folder / "photographs", _COUNT)
        paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
        small = squares(paths, folder)
        found: dict[str, dict[str, Measured]] = {}
        for row in tqdm(ROWS, unit="transform"):
            if not row.reason:
                found[row.label] = measure(row, paths if row.original else small, makers)
        pictured = make_photographs(folder / "pictured", _PICTURED)
        docs = Path(__file__).parent
        write_pictures(docs / "transforms", sorted(pictured.rglob("*.jpg")), folder)
        write_page(docs, found, f"{len(paths)} {called}")
        write_measured(found, f"{len(paths)} {called}")


if __name__ == "__main__":
    main()
