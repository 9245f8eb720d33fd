"""What every built-in dataset has to keep. Inherit, and give the fixtures `dataset` and `twin`."""

from __future__ import annotations

import io
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from dalikit.datasets import ImageDataset, KeyedDataset, LocatedDataset
from dalikit.storage import Arena, read_local


class DatasetContract:
    """`dataset`: at least 3 rows of images that Pillow decodes. `twin`: another copy of it, at another place."""

    def test_it_obeys_the_protocols(self, dataset):
        assert isinstance(dataset, ImageDataset)
        assert isinstance(dataset, LocatedDataset)
        assert isinstance(dataset, KeyedDataset)

    def test_rows_are_bytes_of_images(self, dataset):
        for index in range(len(dataset)):
            data = dataset.get_image_data(index)
            assert isinstance(data, bytes)
            Image.open(io.BytesIO(data)).load()

    def test_the_location_holds_the_same_bytes(self, dataset):
        for index in range(len(dataset)):
            assert read_local(dataset.get_location(index), Arena()).tobytes() == dataset.get_image_data(index)

    def test_it_is_deterministic(self, dataset):
        def everything():
            indices = range(len(dataset))
            return [(dataset.get_image_data(i), dataset.get_target(i), dataset.get_key(i)) for i in indices]

        assert everything() == everything()

    def test_threads_may_share_it(self, dataset):
        def row(index):
            return dataset.get_location(index), dataset.get_target(index), dataset.get_image_data(index)

        indices = np.random.default_rng(0).integers(0, len(dataset), 400).tolist()
        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(row, indices)) == [row(index) for index in indices]

    def test_it_pickles(self, dataset):
        copy = pickle.loads(pickle.dumps(dataset))
        assert len(copy) == len(dataset)
        assert copy.fingerprint == dataset.fingerprint
        for index in range(len(dataset)):
            assert copy.get_location(index) == dataset.get_location(index)
            assert copy.get_target(index) == dataset.get_target(index)

    def test_keys_are_unique_text(self, dataset):
        keys = [dataset.get_key(index) for index in range(len(dataset))]
        assert len(set(keys)) == len(keys)
        assert all(isinstance(key, str) for key in keys)

    def test_a_copy_elsewhere_has_the_same_fingerprint_and_keys(self, dataset, twin):
        assert dataset.get_location(0) != twin.get_location(0)
        assert dataset.fingerprint == twin.fingerprint
        assert dataset.get_key(len(dataset) - 1) == twin.get_key(len(twin) - 1)

    @pytest.mark.parametrize("method", ["get_location", "get_target", "get_key", "get_image_data", "__getitem__"])
    def test_indices_are_those_of_a_list(self, dataset, method):
        get = getattr(dataset, method)
        count = len(dataset)
        if method != "__getitem__":
            assert get(-1) == get(count - 1) == get(np.int64(count - 1))
            assert get(-count) == get(0)
        for index in (count, -count - 1, 10**12):
            with pytest.raises(IndexError, match=rf"index {index} is out of range .* of {count} samples"):
                get(index)
        with pytest.raises(TypeError, match="integer"):
            get("0")

    def test_an_item_is_a_pil_image_and_the_target(self, dataset):
        dataset.target_transform = None
        image, target = dataset[0]
        assert isinstance(image, Image.Image)
        assert image.mode == "RGB"
        assert target == dataset.get_target(0)

    def test_items_go_through_callables_and_raw_rows_do_not(self, dataset):
        raw = dataset.get_target(1), dataset.get_image_data(1)
        dataset.transform = lambda image: image.size
        dataset.target_transform = lambda _: ()
        assert dataset[1] == (Image.open(io.BytesIO(raw[1])).size, ())
        assert (dataset.get_target(1), dataset.get_image_data(1)) == raw

    def test_a_transform_that_only_describes_is_left_to_the_loader(self, dataset):
        dataset.transform = object()
        assert isinstance(dataset[0][0], Image.Image)

    def test_it_says_how_much_is_in_it(self, dataset):
        assert str(len(dataset)) in repr(dataset)
