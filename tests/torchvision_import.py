"""torchvision for the tests, also beside a torch that was built for the CPU."""

from dalikit.bench.torchvision import import_torchvision

__all__ = ["import_torchvision"]
