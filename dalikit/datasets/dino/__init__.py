"""DINOv2's and DINOv3's datasets, in their layouts: docs/imagenet.md."""

from dalikit.datasets.dino.ade20k import ADE20K
from dalikit.datasets.dino.coco_captions import CocoCaptions
from dalikit.datasets.dino.enumerated import DatasetWithEnumeratedTargets
from dalikit.datasets.dino.imagenet import ImageNet
from dalikit.datasets.dino.imagenet22k import ImageNet22k
from dalikit.datasets.dino.nyu import NYU

__all__ = ["ADE20K", "NYU", "CocoCaptions", "DatasetWithEnumeratedTargets", "ImageNet", "ImageNet22k"]
