import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfzoo import data
from tfzoo.data import listing, sources
from tfzoo.run_config import RunConfig

pytestmark = pytest.mark.fast

TEST_PART = [4, 15, 23, 14]


def write(file, value, size=(6, 5), mode="L"):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(file)


@pytest.fixture
def folder(tmp_path):
    """40 grey images of 5 rows and 6 columns; image number i has the value i, its class is its tens digit."""
    for number in range(40):
        write(tmp_path / f"class{number // 10}" / f"{number}.png", number)
    (tmp_path / "class0" / "notes.txt").write_text("no image")
    (tmp_path / ".hidden").mkdir()
    write(tmp_path / ".hidden" / "x.png", 99)
    (tmp_path / "empty").mkdir()
    return tmp_path


def read(path, split, **options):
    return list(data.load(path, split, shuffle=False, **options).as_numpy_iterator())


def values(examples):
    return [round(float(example["image"][0, 0, 0]) * 255) for example in examples]


@pytest.mark.parametrize("cache", [True, False])
def test_sub_folders_in_sorted_order_are_the_labels(folder, cache):
    examples = read(folder, "all", cache=cache)
    assert sorted(values(examples)) == list(range(40))
    assert [example["label"] for example in examples] == [value // 10 for value in values(examples)]
    assert examples[0]["image"].shape == (5, 6, 1)


@pytest.mark.parametrize("cache", [True, False])
def test_splits_are_80_10_10_disjoint_and_in_a_fixed_order(folder, cache):
    parts = [values(read(folder, split, cache=cache)) for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [32, 4, 4]
    assert [*parts[0], *parts[1], *parts[2]] == values(read(str(folder), "all", cache=cache))
    assert parts[0] + parts[1] == values(read(folder, "train+validation", cache=cache))
    assert parts[2] == TEST_PART  # by SHA-256 of the names: on every machine


def test_a_new_file_moves_hardly_any_other(folder):
    before = set(values(read(folder, "train")))
    write(folder / "class9" / "new.png", 200)
    after = set(values(read(folder, "train")))
    assert len(before - after) <= 1


@pytest.mark.parametrize("binarize", [None, "static"])
def test_the_stream_from_disk_is_the_same_data_set_as_the_table(folder, binarize, monkeypatch):
    table = read(folder, "train", binarize=binarize, batch_size=10)
    from_disk = read(folder, "train", binarize=binarize, batch_size=10, cache=False)
    monkeypatch.setattr(sources, "TABLE_BYTES", 10)
    cached = read(folder, "train", binarize=binarize, batch_size=10)
    for other in (from_disk, cached):
        for mine, theirs in zip(table, other, strict=True):
            assert all(np.array_equal(mine[key], theirs[key]) for key in ("image", "label", "index"))


def test_a_shuffled_stream_keeps_its_indices(folder):
    dataset = data.load(folder, "train", cache=False, batch_size=10, binarize="dynamic")
    assert len(dataset) == 4
    orders = [np.concatenate([batch["index"] for batch in dataset.as_numpy_iterator()]) for _ in range(2)]
    assert not np.array_equal(*orders)
    assert all(np.array_equal(np.sort(order), np.arange(32)) for order in orders)
    shuffled = data.load(folder, "train", cache=False).as_numpy_iterator()
    by_index = {int(example["index"]): values([example])[0] for example in shuffled}
    assert [by_index[index] for index in range(32)] == values(read(folder, "train"))


def test_images_outside_any_sub_folder_have_no_label(tmp_path):
    for number in range(10):
        write(tmp_path / f"{number}.jpg", 25 * number)
    assert {int(example["label"]) for example in read(tmp_path, "all")} == {-1}
    assert data.info(tmp_path).num_classes == 0


def test_one_colour_image_makes_all_of_them_rgb(tmp_path):
    write(tmp_path / "grey.png", 51)
    write(tmp_path / "colour.PNG", (0, 51, 255, 9), mode="RGBA")
    examples = read(tmp_path, "all", batch_size=2)
    pixels = {tuple(np.rint(image[0, 0] * 255).astype(int)) for image in examples[0]["image"]}
    assert pixels == {(51, 51, 51), (0, 51, 255)}


def test_images_of_several_sizes_need_a_size(tmp_path):
    write(tmp_path / "a.png", 7, size=(4, 4))
    write(tmp_path / "b.png", 7, size=(9, 5))
    with pytest.raises(ValueError, match=r"need `image_size`\. Received: 2 sizes"):
        data.load(tmp_path, "all")
    assert read(tmp_path, "all", image_size=8, batch_size=2)[0]["image"].shape == (2, 8, 8, 1)
    assert data.info(tmp_path, image_size=(8, 3)).event_shape == (8, 3, 1)


def test_the_facts_of_a_folder_are_counted(folder):
    facts = data.info(folder)
    assert facts.event_shape == (5, 6, 1)
    assert facts.num_classes == 4
    assert facts.num_examples == {"train": 32, "validation": 4, "train+validation": 36, "test": 4, "all": 40}
    for split, count in facts.num_examples.items():
        assert len(data.load(folder, split)) == count


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n\x00\x00"])
def test_a_corrupt_file_is_one_error_that_names_it(folder, content):
    (folder / "class1" / "broken.png").write_bytes(content)
    for cache in (True, False):
        with pytest.raises(ValueError, match=r"corrupt or unreadable .* Received: '.*class1/broken\.png'$"):
            data.load(folder, "all", cache=cache)


def test_a_truncated_file_is_one_error_that_names_it(folder):
    noise = np.random.default_rng(0).integers(0, 256, (5, 6), np.uint8)
    Image.fromarray(noise).save(folder / "class1" / "cut.jpg")
    whole = (folder / "class1" / "cut.jpg").read_bytes()
    (folder / "class1" / "cut.jpg").write_bytes(whole[:-20])  # the header is whole, the pixels are not
    with pytest.raises(ValueError, match=r"corrupt or unreadable .* Received: '.*class1/cut\.jpg'$"):
        data.load(folder, "all")
    with pytest.raises(tf.errors.OpError, match=r"class1/cut\.jpg"):
        read(folder, "all", cache=False)


def test_sixteen_bits_are_refused(tmp_path):
    Image.fromarray(np.full((4, 4), 60_000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match=r"8 bits a channel\. Received: mode 'I;16' in '.*deep\.png'$"):
        data.load(tmp_path, "all")


@pytest.mark.parametrize("suffix", ["bmp", "gif", "tif", "tiff", "webp"])
def test_other_formats_are_read_as_png_is(tmp_path, suffix):
    pixels = np.random.default_rng(0).integers(0, 256, [10, 5, 6], np.uint8)
    for number, image in enumerate(pixels):
        lossless = {"lossless": True} if suffix == "webp" else {}
        Image.fromarray(image).save(tmp_path / f"{number}.{suffix}", **lossless)
    images = read(tmp_path, "all", batch_size=10)[0]["image"]
    # WebP has no grey images.
    assert images.shape == (10, 5, 6, 3 if suffix == "webp" else 1)
    found = {image[..., 0].tobytes() for image in np.rint(images * 255).astype(np.uint8)}
    assert found == {image.tobytes() for image in pixels}


def test_palettes_of_greys_are_grey_and_others_are_colours(tmp_path):
    for number, colours in enumerate([[0, 0, 0, 200, 200, 200], [0, 0, 0, 200, 0, 200]]):
        image = Image.fromarray(np.eye(4, dtype=np.uint8)).convert("P")
        image.putpalette(colours)
        (tmp_path / str(number)).mkdir()
        image.save(tmp_path / str(number) / "image.png")
    grey, colour = (read(tmp_path / name, "all", batch_size=1)[0]["image"][0] for name in "01")
    np.testing.assert_allclose(grey * 255, 200 * np.eye(4)[..., np.newaxis], atol=1e-4)
    np.testing.assert_allclose(colour * 255, np.eye(4)[..., np.newaxis] * [200, 0, 200], atol=1e-4)


@pytest.mark.parametrize("suffix", ["gif", "tiff", "webp"])
def test_several_images_in_a_file_are_refused(tmp_path, suffix):
    first, *others = (Image.fromarray(np.full((4, 4), 50 * number, np.uint8)) for number in range(3))
    first.save(tmp_path / f"film.{suffix}", save_all=True, append_images=others)
    with pytest.raises(ValueError, match=r"one image\. Received: 3 in '.*film\.\w+'$"):
        data.load(tmp_path, "all")


def test_previews_that_cameras_hide_behind_an_image_are_passed_over(tmp_path):
    image, preview = (Image.fromarray(np.full((size, size), 99, np.uint8)) for size in (8, 4))
    image.save(tmp_path / "photo.jpg", format="MPO", save_all=True, append_images=[preview])
    assert read(tmp_path, "all", batch_size=1)[0]["image"].shape == (1, 8, 8, 1)


def test_a_missing_empty_or_too_small_folder_is_one_sentence(tmp_path):
    for missing in (tmp_path / "nowhere", str(tmp_path / "nowhere"), "./nowhere"):
        with pytest.raises(FileNotFoundError, match=r"no such folder of images\. Received: '.*nowhere'$"):
            data.load(missing)
    with pytest.raises(ValueError, match=r"^The folder has no images or volumes \(.*\)\. Received: "):
        data.load(tmp_path)
    write(tmp_path / "one.png", 1)
    with pytest.raises(ValueError, match=r"too few images for split 'train'; .* Received: 1 images in "):
        data.load(tmp_path, "train")
    assert len(data.load(tmp_path, "all")) == 1


def test_the_threads_reading_order_is_the_files_order(folder):
    names = listing.in_canonical_order(listing.list_folder(folder).names)
    assert values(read(folder, "all")) == [int(pathlib.Path(name).stem) for name in names]


def test_links_to_folders_are_followed_but_for_loops(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write(elsewhere / "40.png", 40)
    (folder / "class4").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(folder)
    (folder / "class0" / "self").symlink_to(folder / "class0")
    examples = read(folder, "all")
    assert sorted(values(examples)) == list(range(41))
    assert {example["label"] for example in examples if round(float(example["image"][0, 0, 0]) * 255) == 40} == {4}


def test_images_stand_upright_as_their_cameras_say(tmp_path):
    pixels = np.arange(30, dtype=np.uint8).reshape(5, 6) * 8
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    for number in range(10):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png", exif=exif)
    assert data.info(tmp_path).event_shape == (6, 5, 1)
    np.testing.assert_allclose(read(tmp_path, "train")[0]["image"][..., 0] * 255, np.rot90(pixels, -1), atol=1e-3)


def test_grey_images_with_alpha_are_grey(tmp_path):
    for number in range(10):
        write(tmp_path / f"{number}.png", (number, 128), mode="LA")
    assert data.info(tmp_path).event_shape == (5, 6, 1)
    assert sorted(values(read(tmp_path, "all"))) == list(range(10))


def test_splits_without_an_image_are_none(tmp_path):
    for number in range(5):
        write(tmp_path / f"{number}.png", number)
    counts = data.info(tmp_path).num_examples
    assert counts == {"train": 4, "train+validation": 4, "test": 1, "all": 5}
    for split, count in counts.items():
        assert len(read(tmp_path, split)) == count
    assert not RunConfig("vae", str(tmp_path), {}, {}).has_validation
