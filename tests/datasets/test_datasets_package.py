"""The packages load what they need and no more."""

from __future__ import annotations

import subprocess
import sys

import dalikit.datasets
import dalikit.storage


def test_neither_torch_nor_dali_is_loaded():
    code = (
        "import sys, dalikit.storage, dalikit.datasets; dalikit.datasets.dataset_names(); "
        "print([name for name in ('torch', 'nvidia.dali', 'PIL', 'tqdm') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_all_is_sorted_and_there():
    for package in (dalikit.datasets, dalikit.storage):
        assert sorted(package.__all__) == package.__all__
        assert all(hasattr(package, name) for name in package.__all__)
