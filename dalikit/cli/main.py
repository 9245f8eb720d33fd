"""Arguments of the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dalikit
from dalikit.errors import DalikitError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command. Exit status: 0 done, 1 it failed, 2 the arguments are off, 130 Ctrl-C."""
    arguments = _parser().parse_args(argv)
    run: Callable[[Any], int] = arguments.run
    try:
        return run(arguments)
    except DalikitError as error:
        print(f"dalikit {arguments.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dalikit", description=(dalikit.__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--version", action="version", version=f"dalikit {dalikit.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_bench(commands)
    return parser


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser(
        "demo",
        help="see it work: throughput beside torch, an exact resume, a contact sheet",
        description="Streams photographs through a dalikit loader. Needs no data and no network.",
    )
    demo.add_argument("--data", type=Path, metavar="DIR", help="your own folder: DIR/class/image.jpg")
    demo.add_argument("--out", type=Path, default=Path("dalikit-demo"), metavar="DIR", help="default: %(default)s")
    demo.add_argument(
        "--seconds", type=_positive, default=4.0, help="each of 3 turns of a loader; default: %(default)s"
    )
    _add_shared(demo)
    demo.set_defaults(run=_run_demo)


def _add_bench(commands: Any) -> None:
    bench = commands.add_parser(
        "bench",
        help="images/s of dalikit and of what one would use otherwise, in interleaved rounds",
        description="All loaders do the same work on an ImageFolder, in turn.",
    )
    bench.add_argument(
        "--workload",
        choices=("train", "dino", "bytes", "items"),
        default="train",
        help="train: RandomResizedCrop 224, flip, normalize; dino: DINOv2's 2 x 224 + 8 x 96 with all its colours; "
        "bytes: train, over a plain dataset whose items are files' bytes; items: over decoded images, tensors and tiny "
        "items; default: %(default)s",
    )
    bench.add_argument("--data", type=Path, required=True, metavar="DIR", help="DIR/class/image.jpg")
    bench.add_argument("--seconds", type=_positive, default=3.0, help="of each turn; default: %(default)s")
    bench.add_argument("--rounds", type=_count, default=5, help="turns of each loader; default: %(default)s")
    _add_shared(bench)
    bench.set_defaults(run=_run_bench)


def _add_shared(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch-size", type=_count, default=64, help="default: %(default)s")
    parser.add_argument(
        "--threads", type=_count, help="CPU threads, and worker processes of loaders that have some; default: all cores"
    )
    parser.add_argument("--device", help="cpu, cuda or cuda:N; default: the GPU if there is one")


def _positive(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError
    return seconds


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _run_demo(arguments: Any) -> int:
    from dalikit.cli.demo import run

    return run(arguments)


def _run_bench(arguments: Any) -> int:
    from dalikit.cli.bench import run

    return run(arguments)
