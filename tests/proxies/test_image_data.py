import numpy as np
import pytest
from PIL import Image

from planner.errors import DataError
from planner.proxies._image_data import Order, copies_of, prepare_images
from tests.proxies.image_trials import pictures, save


def contents(images):
    return {one.tobytes() for one in images.pixels}


def test_the_split_is_frozen_whole_and_about_the_share_asked_for(tmp_path):
    found = prepare_images(save(tmp_path / "a.npz", 1_000))
    assert len(found.train) + len(found.validation) == 1_000
    assert 200 < len(found.validation) < 300
    assert not contents(found.train) & contents(found.validation)
    images, labels = pictures(1_000)
    order = np.random.default_rng(1).permutation(1_000)
    moved = prepare_images(save(tmp_path / "b.npz", images=images[order], labels=labels[order]))
    assert contents(moved.validation) == contents(found.validation)
    assert moved.train_hash == found.train_hash


def test_copies_never_straddle_the_split(tmp_path):
    images, labels = pictures(400)
    noise = np.random.default_rng(2).integers(-3, 4, images.shape)
    near = np.clip(images.astype(int) + noise, 0, 255).astype(np.uint8)
    group = copies_of(np.concatenate([images, images, near])[..., None])
    assert (group[:400] == group[400:800]).all()
    assert (group[:400] == group[800:]).all()
    assert len(set(group.tolist())) == 400
    found = prepare_images(
        save(tmp_path / "set.npz", images=np.concatenate([images, near]), labels=np.tile(labels, 2))
    )
    held = contents(found.validation)
    for one, twin in zip(images, near, strict=True):
        assert (one.tobytes() in held) == (twin.tobytes() in held)
    assert 0.15 < len(found.validation) / 800 < 0.35


def test_a_validation_set_of_ones_own_takes_its_copies_out_of_training(tmp_path):
    images, labels = pictures(200)
    data = save(tmp_path / "train.npz", images=images, labels=labels)
    save(tmp_path / "val.npz", images=images[:40], labels=labels[:40])
    found = prepare_images(data | {"validation": str(tmp_path / "val.npz")})
    assert (len(found.train), len(found.validation), found.copies) == (160, 40, 40)


def test_a_folder_per_class_is_read_resized_and_named(tmp_path):
    images, labels = pictures(240, side=12)
    for row, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = tmp_path / "set" / f"class{label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{row}.png")
    (tmp_path / "set" / "class0" / "notes.txt").write_text("no image")
    found = prepare_images({"images": str(tmp_path / "set"), "side": 8, "channels": 1})
    assert (found.side, found.channels, found.classes) == (8, 1, 4)
    assert found.train.names == ("class0", "class1", "class2", "class3")
    (tmp_path / "set" / "class0" / "broken.png").write_bytes(b"no")
    with pytest.raises(DataError, match=r"broken\.png cannot be read"):
        prepare_images({"images": str(tmp_path / "set")})


def test_every_epoch_shows_every_image_once_in_an_order_of_its_own():
    order = Order(10, seed=4)
    epochs = [order.at(10 * epoch, 10) for epoch in range(3)]
    assert all(sorted(one.tolist()) == list(range(10)) for one in epochs)
    assert epochs[0].tolist() != epochs[1].tolist()
    assert order.at(7, 16).tolist() == np.concatenate(epochs)[7:23].tolist()


def test_the_digits_come_without_a_download():
    pytest.importorskip("sklearn", reason="scikit-learn, which holds the digits, is not installed")
    found = prepare_images({})
    assert len(found.train) + len(found.validation) == 1_797
    assert (found.classes, found.side) == (10, 8)
    assert found.train.pixels.max() == 255


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"labels": np.zeros(3, int)}, r"`labels` \(3,\)"),
        ({"labels": np.full(240, -1)}, "from 0 on, not from -1; numpy.unique"),
        ({"labels": np.zeros(240)}, "from 0 on, not float64"),
        ({"labels": np.zeros(240, int)}, "at least two classes"),
        ({"labels": np.arange(240) % 2 * 2}, "the class 1 has no training image: .* leave"),
        ({"images": np.zeros((240, 8, 9), np.uint8)}, "side, side"),
        ({"images": np.full((240, 8, 8), 7.0)}, "between 0 and 1"),
        ({"images": np.zeros((240, 8, 8), np.int64)}, "bytes"),
        ({"labels": np.array([{}] * 240, dtype=object)}, "cannot be read"),
    ],
)
def test_arrays_that_are_no_pictures_are_refused(tmp_path, arrays, said):
    with pytest.raises(DataError, match=said):
        prepare_images(save(tmp_path / "set.npz", **arrays))


def test_data_that_are_not_there_are_refused(tmp_path):
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for data, said in (
        ({"images": str(tmp_path / "nowhere")}, "neither a folder"),
        ({"images": str(tmp_path / "empty.npz")}, "cannot be read"),
        ({"images": str(tmp_path / "folder")}, "at least two"),
        ({"source": "cifar"}, "source: digits"),
        ({"source": "digits", "images": "x"}, "leave one"),
        ({"side": 8, "images": 3}, "must be a path"),
        ({"vocab": 5}, "no option `vocab`"),
        ({"validation_share": 1}, "between 0 and 1"),
        (save(tmp_path / "few.npz", 40), "are needed"),
    ):
        with pytest.raises(DataError, match=said):
            prepare_images(data)
