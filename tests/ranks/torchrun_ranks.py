"""What torchrun tells a rank, and what docs/distributed.md promises: a script of its own, for two ranks.

Usage: torchrun_ranks.py FOLDER, which has `images`, and the page's examples as `1.py`, `2.py`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from dalikit.distributed import default_num_threads, local_rank, resolve_rank

FOLDER = Path(sys.argv[1])


def run_example(number: int) -> dict[str, Any]:
    """Its variables, at its end."""
    names: dict[str, Any] = {}
    exec((FOLDER / f"{number}.py").read_text(), names)
    return names


def main() -> None:
    """Writes down what this rank saw."""
    seen: dict[str, Any] = {
        "found": resolve_rank(None, None),
        "local": local_rank(),
        "threads": default_num_threads(),
        "cores": len(os.sched_getaffinity(0)),
    }
    os.chdir(FOLDER)
    training = run_example(1)
    seen["indices"] = training["loader"].sampler.indices(0, 100).tolist()
    seen["batches"] = sum(1 for _ in training["loader"])
    seen["evaluated"] = run_example(2)["sums"].tolist()
    seen["in_group"] = resolve_rank(None, None)
    import torch.distributed as dist

    from dalikit import DataLoader, make_data_loader

    dataset, keyed = training["dataset"], training["SamplerType"].KEYED_EPOCH
    seen["alone"] = len(DataLoader(dataset, batch_size=2))
    other = make_data_loader(
        dataset=dataset,
        batch_size=2,
        num_workers=0,
        sampler_type=keyed,
        seed=dist.get_rank(),
    )
    try:
        next(iter(other))
    except ValueError as error:
        seen["mismatch"] = str(error)
    dist.destroy_process_group()
    (FOLDER / f"{seen['found'][0]}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main()
