"""`dalikit bench`: images/s of dalikit and of what one would use otherwise, in interleaved rounds."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm

from dalikit.bench import Dalikit, DaliReader, Peer, TorchPillow, measure, table
from dalikit.distributed import default_num_threads, resolve_device

__all__ = ["run"]

_SIZE = 224


def run(arguments: Any) -> int:
    """Measures and prints a table."""
    root = str(arguments.data)
    device = resolve_device(arguments.device)
    shared = {
        "batch_size": arguments.batch_size,
        "num_threads": arguments.threads or default_num_threads(),
        "size": _SIZE,
    }
    # torch's first: its processes are forked before there are threads that a fork would cut off.
    peers: list[Peer] = [TorchPillow(root, **shared)]
    peers.append(DaliReader(root, **shared, device_id=device.index if device.type == "cuda" else None))
    executors = ("dali",) if device.type == "cuda" else ("dali", "host")
    peers += [Dalikit(root, **shared, executor=executor, device=device) for executor in executors]
    try:
        with tqdm(desc="measuring", unit="image", unit_scale=True) as bar:

            def on_batch(peer: Peer, count: int) -> None:
                bar.set_postfix_str(peer.name, refresh=False)
                bar.update(count)

            results = measure(peers, seconds=arguments.seconds, rounds=arguments.rounds, on_batch=on_batch)
    finally:
        for peer in peers:
            peer.close()
    print(f"\nbatch {arguments.batch_size}, {shared['num_threads']} CPU threads, device {device}\n")
    print(table(results, baseline=1))
    return 0
