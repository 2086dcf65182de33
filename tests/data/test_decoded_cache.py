"""The decoded cache: the decoder's pixels, whole or absent, made anew when its sources change, safe for two at once."""

import fcntl
import json
import os
import shutil
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from catalyst_cityscapes.data import decoded_cache
from catalyst_cityscapes.data.augmentation import CropFirst, Pipeline
from catalyst_cityscapes.data.decoded_cache import HEADER_BYTES, MADE, Entry, open_cache
from catalyst_cityscapes.data.image_set import CachedSemData
from catalyst_cityscapes.data.loaders import build_loader
from catalyst_cityscapes.data.training_set import training_set
from catalyst_cityscapes.recipe.loading import load_recipe
from catalyst_cityscapes.recipe.translation import recipe_to_official
from catalyst_cityscapes.train.validation import validation_set
from semseg_ref.base.errors import DataError, InputError
from semseg_ref.base.seed_streams import SeedStreams
from semseg_ref.dataset import SemData, read_pair
from semseg_ref.sampling import EpochSampler, SeededDataset
from support.golden.inputs import rec_image, rec_label
from support.runs.labs import fork
from support.runs.toy import toy_settings

SIZES = [(40, 64), (33, 51), (64, 40), (1, 7), (50, 50)]
CHECK = {"classes": 19, "ignore_index": 255, "workers": 1}


def write_sample(folder, number, size, seed):
    image, label = folder / f"img_{number}.png", folder / f"label_{number}.png"
    Image.fromarray(rec_image(seed, *size)).save(image)
    Image.fromarray(rec_label(seed + 1, *size, 19)).save(label)
    return str(image), str(label)


@pytest.fixture
def pairs(tmp_path):
    """Images of five sizes with their labels, and a JPEG."""
    made = [write_sample(tmp_path, number, size, 10 * number) for number, size in enumerate(SIZES)]
    jpeg = tmp_path / "photo.jpg"
    Image.fromarray(rec_image(99, 40, 64)).save(jpeg, quality=80)
    return [*made, (str(jpeg), made[0][1])]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def assert_complete(entries, pairs):
    for entry, pair in zip(entries, pairs, strict=True):
        for found, expected in zip(entry.read(), read_pair(*pair), strict=True):
            assert found.dtype == expected.dtype == np.uint8
            assert np.array_equal(found, expected)


@pytest.fixture
def decoded(monkeypatch):
    """The images that are decoded, in order."""
    names = []

    def counting(image, label, *rest):
        names.append(Path(image).name)
        return read_pair(image, label, *rest)

    monkeypatch.setattr(decoded_cache, "read_pair", counting)
    return names


# -- what it holds --------------------------------------------------------------------------------------------------
def test_the_decoders_pixels_for_images_of_any_size(pairs, folder, decoded, capfd):
    assert_complete(open_cache(folder, pairs, **CHECK), pairs)
    assert len(decoded) == len(pairs)
    told = capfd.readouterr().err
    assert f"{len(pairs)} of {len(pairs)} images to decode" in told
    assert "GB to write" in told
    assert_complete(open_cache(folder, pairs, **CHECK), pairs)
    assert len(decoded) == len(pairs)
    assert capfd.readouterr().err == ""


def test_the_size_told_is_the_size_written(pairs, folder):
    open_cache(folder, pairs, **CHECK)
    written = sum(path.stat().st_size for path in folder.glob("*.decoded"))
    assert written == sum(decoded_cache._decoded_bytes(image) for image, _ in pairs)


def test_lists_share_a_folder_and_repeat_samples(pairs, folder, decoded):
    open_cache(folder, pairs[:3], **CHECK)
    entries = open_cache(folder, [*pairs, pairs[0]], **CHECK)
    assert len(decoded) == len(pairs)
    assert entries[-1] == entries[0]


def test_several_processes_and_their_progress(pairs, folder):
    seen = []
    entries = open_cache(folder, pairs, 19, 255, workers=2, progress=lambda *step: seen.append(step))
    assert_complete(entries, pairs)
    assert seen == [("decoding", done, len(pairs)) for done in range(len(pairs) + 1)]


# -- sources that change ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("which", [0, 1])
def test_a_changed_source_is_decoded_again_and_nothing_else(pairs, folder, decoded, which, tmp_path):
    open_cache(folder, pairs, **CHECK)
    decoded.clear()
    fresh = write_sample(tmp_path, "new", SIZES[2], 777)
    os.replace(fresh[which], pairs[2][which])
    assert_complete(open_cache(folder, pairs, **CHECK), pairs)
    assert decoded == [Path(pairs[2][0]).name]


def test_another_size_under_the_same_name(pairs, folder, tmp_path):
    open_cache(folder, pairs, **CHECK)
    for fresh, old in zip(write_sample(tmp_path, "new", (21, 90), 5), pairs[1], strict=True):
        os.replace(fresh, old)
    entries = open_cache(folder, pairs, **CHECK)
    assert (entries[1].height, entries[1].width) == (21, 90)
    assert_complete(entries, pairs)


def test_labels_are_checked_again_for_other_classes(pairs, folder):
    open_cache(folder, pairs, **CHECK)
    with pytest.raises(DataError, match=r"label_\d\.png: values .* expected 0\.\.4"):
        open_cache(folder, pairs, 5, 255, workers=1)


# -- damage -----------------------------------------------------------------------------------------------------------
def damage_pixel(path):
    content = bytearray(path.read_bytes())
    content[HEADER_BYTES + 17] ^= 1
    path.write_bytes(content)


def damage_header(path):
    content = bytearray(path.read_bytes())
    content[:40] = b"x" * 40
    path.write_bytes(content)


def change_header(**changes):
    def harm(path):
        content = path.read_bytes()
        header = {**json.loads(content[:HEADER_BYTES]), **changes}
        header = {name: value for name, value in header.items() if value is not None}
        path.write_bytes(json.dumps(header).encode().ljust(HEADER_BYTES) + content[HEADER_BYTES:])

    return harm


@pytest.mark.parametrize(
    "harm",
    [
        damage_pixel,
        damage_header,
        *(change_header(**{name: value}) for name in MADE for value in (None, [1])),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
    ],
)
def test_a_damaged_file_is_made_anew(pairs, folder, decoded, harm):
    entries = open_cache(folder, pairs, **CHECK)
    decoded.clear()
    harm(entries[3].path)
    assert_complete(open_cache(folder, pairs, **CHECK), pairs)
    assert decoded == [Path(pairs[3][0]).name]


def test_a_copied_cache_is_checked_and_kept(pairs, folder, decoded, tmp_path):
    open_cache(folder, pairs, **CHECK)
    decoded.clear()
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, copy_function=shutil.copyfile)
    assert_complete(open_cache(copy, pairs, **CHECK), pairs)
    assert decoded == []


def test_a_file_that_vanishes_in_use_is_an_input_error(pairs, folder):
    entry = open_cache(folder, pairs, **CHECK)[0]
    with pytest.raises(DataError, match="changed while in use"):
        Entry(entry.path, entry.height + 1, entry.width).read()
    entry.path.unlink()
    with pytest.raises(DataError, match="start again"):
        entry.read()


# -- crashes and company ------------------------------------------------------------------------------------------
def start_child(folder, log, killed_at, pairs):
    """A process that builds the cache, writes which images it decodes, and is killed at a write; returns its id."""

    def work():
        read, flush, writes = read_pair, os.fsync, []

        def logged(image, *rest):
            with open(f"{log}.images", "a") as file:
                file.write(image + "\n")
            return read(image, *rest)

        def killed(handle):
            writes.append(handle)
            if len(writes) == killed_at:
                os.kill(os.getpid(), signal.SIGKILL)
            flush(handle)

        decoded_cache.read_pair, os.fsync = logged, killed
        open_cache(folder, pairs, 19, 255, workers=1)

    return fork(work, log)


def exit_code(process):
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def test_a_killed_build_goes_on_where_it_was(pairs, folder, decoded, tmp_path):
    assert exit_code(start_child(folder, tmp_path / "log", 3, pairs)) == -9
    assert len(list(folder.glob("*.decoded"))) == 2
    assert len(list(folder.glob(".*.draft"))) == 1
    assert_complete(open_cache(folder, pairs, **CHECK), pairs)
    assert decoded == [Path(image).name for image, _ in pairs[2:]]
    assert list(folder.glob(".*.draft")) == []


def test_two_processes_at_once_decode_each_image_once(pairs, folder, tmp_path):
    log = tmp_path / "log"
    children = [start_child(folder, log, 0, pairs) for _ in range(2)]
    assert [exit_code(child) for child in children] == [0, 0], log.read_text()
    assert sorted(Path(f"{log}.images").read_text().split()) == sorted(image for image, _ in pairs)
    assert_complete(open_cache(folder, pairs, **CHECK), pairs)


def test_the_one_who_waits_says_so(pairs, folder, monkeypatch):
    folder.mkdir()
    handle = os.open(folder / decoded_cache.LOCK, os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    said, waits = [], threading.Event()

    def say(text):
        said.append(text)
        waits.set()

    monkeypatch.setattr(decoded_cache, "_say", say)
    found = []
    thread = threading.Thread(target=lambda: found.extend(open_cache(folder, pairs, **CHECK)))
    thread.start()
    assert waits.wait(timeout=60)
    assert found == []
    os.close(handle)
    thread.join(timeout=60)
    assert_complete(found, pairs)
    assert "waiting" in said[0]


# -- errors -----------------------------------------------------------------------------------------------------------
def test_a_full_disk_is_said_before_anything_is_written(pairs, folder, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(InputError, match=r"data\.cache: .* need .* GB .* the disk has 0\.00 GB"):
        open_cache(folder, pairs, **CHECK)
    assert list(folder.glob("*decoded*")) == []


def test_a_disk_that_fills_up_leaves_no_half_file(pairs, folder, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="cannot be written"):
        open_cache(folder, pairs, **CHECK)
    assert [path.name for path in folder.iterdir()] == [decoded_cache.LOCK]


def test_a_folder_that_is_a_file(pairs, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match=r"data\.cache: .*taken"):
        open_cache(tmp_path / "taken", pairs, **CHECK)


def test_a_broken_image_and_a_label_of_another_size_are_named(pairs, folder, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(Path(pairs[0][0]).read_bytes()[:200])
    with pytest.raises(DataError, match=r"broken\.png"):
        open_cache(folder, [(str(broken), pairs[0][1])], **CHECK)
    with pytest.raises(DataError, match=r"label_1\.png: size 33 x 51 differs"):
        open_cache(folder, [(pairs[0][0], pairs[1][1])], **CHECK)
    with pytest.raises(DataError, match=r"gone\.png"):
        open_cache(folder, [(str(tmp_path / "gone.png"), pairs[1][1])], **CHECK)


# -- in a training ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_gives_the_same_batches(toy_city, folder, workers):
    data_list = toy_city / "list" / "fine_train.txt"
    arguments = ("train", str(toy_city), data_list, CropFirst((33, 41)), 19, 255)
    batches = []
    for samples in (SemData(*arguments), CachedSemData(*arguments, cache=folder)):
        streams = SeedStreams(3)
        sampler = EpochSampler(len(samples), streams)
        sampler.set_epoch(1)
        loader = build_loader(SeededDataset(samples, streams), sampler, 2, workers, drop_last=False)
        batches.append(list(loader))
    assert len(batches[0]) == 3
    for left, right in zip(*batches, strict=True):
        assert torch.equal(left[0], right[0])
        assert torch.equal(left[1], right[1])


def test_a_recipe_trains_and_validates_on_the_same_pixels(toy_city, workdir):
    settings = [*toy_settings(toy_city), "data.crop=[33,41]", "protocol.crop=null"]
    plain, cached = (load_recipe(["toy/pspnet50"], [*settings, *more]) for more in ([], ["data.cache=decoded"]))
    for make in (lambda recipe: training_set(recipe)[0], lambda recipe: validation_set(recipe)[0]):
        left, right = make(plain), make(cached)
        assert len(left) == len(right) > 0
        for index in range(len(left)):
            assert all(torch.equal(a, b) for a, b in zip(left[index], right[index], strict=True))
    assert len(list((workdir / "decoded").glob("*.decoded"))) == 8


def test_a_label_without_a_transform_is_writable(toy_city, folder):
    data_list = toy_city / "list" / "fine_train.txt"
    image, label = CachedSemData("train", str(toy_city), data_list, None, 19, 255, folder)[0]
    assert image.dtype == np.float32
    assert image.flags.writeable
    assert label.flags.writeable


def test_a_look_at_the_samples_builds_no_cache(toy_city, workdir):
    recipe = load_recipe(["toy/pspnet50"], [*toy_settings(toy_city), "data.cache=decoded"])
    dataset, _ = training_set(recipe, use_cache=False)
    assert isinstance(dataset.dataset.transform, Pipeline)
    assert not (workdir / "decoded").exists()


def test_the_control_arm_does_without(toy_city, workdir):
    settings = toy_settings(toy_city)
    plain, cached = (load_recipe(["toy/pspnet50"], [*settings, *more]) for more in ([], ["data.cache=decoded"]))
    assert recipe_to_official(plain) == recipe_to_official(cached)
