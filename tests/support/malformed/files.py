"""Malformed lists, images, labels, class tables and checkpoints."""

import shutil
from pathlib import Path

import numpy as np

from support.faults.hostile_files import Payload, bmp, jpeg, npz_header, png, write_zip
from support.malformed.making import (
    DEMO,
    DEMO_SETTINGS,
    ESCAPE,
    RUN,
    TEST,
    Case,
    checkpoint,
    file,
    image,
    label,
    listing,
    saved,
)
from support.malformed.place import change_list

LISTS = [
    listing("UTF-16", lambda text: "\x00".join(text), "line 1: no such file city/l?e?f?t"),
    listing("tabs", lambda text: text.replace(" ", "\t"), "line 1: ", "has 1 fields"),
    listing("a blank line", lambda text: text.replace("\n", "\n\n", 1), "line 2: '' has 1 fields"),
    listing("one field", lambda text: text.split(" ")[0] + "\n", "line 1: ", "expected 2"),
    listing("an escape sequence", lambda text: ESCAPE + text, "line 1: no such file city/?[31mred"),
    Case(
        "list: bytes", TEST, ("fine_val.txt: not a UTF-8 text file",), file("city/list/fine_val.txt", b"\xff\xfe\x81")
    ),
    Case("list: a folder", (*TEST, "--set", "data.val_list=city"), ("city: no such list file",)),
    listing(
        "a path that leaves the folder", lambda text: f"../good.pth {text.split(' ', 1)[1]}", "city/../good.pth leaves"
    ),
    Case(
        "list: an absolute path to train",
        RUN,
        ("fine_train.txt, line 1: /etc/passwd leaves the data root ",),
        lambda: change_list("train", lambda text: "/etc/passwd " + text.split(" ", 1)[1]),
    ),
    Case(
        "list: a device",
        TEST,
        ("fine_val.txt, line 1: /dev/zero leaves the data root ",),
        lambda: change_list("val", lambda text: "/dev/zero " + text.split(" ", 1)[1]),
    ),
]
IMAGES = [
    Case("image: a PNG bomb", RUN, ("leftImg8bit.png: claims 100000 x 100000 pixels", "undecoded"), image(png())),
    Case("image: a JPEG bomb", RUN, ("leftImg8bit.png: claims 60000 x 60000 pixels",), image(jpeg())),
    Case("image: a BMP bomb", RUN, ("leftImg8bit.png: claims ", "pixels"), image(bmp())),
    Case("image: no pixels", RUN, ("leftImg8bit.png: claims 0 x 5 pixels",), image(png(0, 5))),
    Case("image: a bomb to test", TEST, ("leftImg8bit.png: claims 100000 x 100000",), image(png(), "val")),
    Case("image: text", TEST, ("leftImg8bit.png: damaged",), image(b"no image", "val")),
    Case("image: half a header", TEST, ("leftImg8bit.png: ",), image(png()[:20], "val")),
    Case(
        "image: a video's name",
        (*DEMO, *DEMO_SETTINGS, "x.mp4"),
        ("x.mp4: damaged, or no video",),
        file("x.mp4", "text"),
    ),
    Case(
        "image: a bomb in a folder",
        (*DEMO, *DEMO_SETTINGS, "pics"),
        ("pics/a.png: claims 100000 x 100000",),
        file("pics/a.png", png()),
    ),
    Case("label: a bomb", TEST, ("labelTrainIds.png: claims 100000 x 100000",), image(png(), "val", 1)),
    Case("label: 16 bits", TEST, ("labelTrainIds.png: 16 bits a sample",), label(lambda x: x.astype(np.uint16))),
    Case(
        "label: colours",
        TEST,
        ("labelTrainIds.png: a colour image",),
        label(lambda x: np.stack([x, x // 2, x], axis=2)),
    ),
    Case("label: values", TEST, ("labelTrainIds.png: values 77", "expected 0..18 or 255"), label(lambda x: x * 0 + 77)),
    Case(
        "label: another size", RUN, ("labelTrainIds.png: size 60 x 96 differs from",), label(lambda x: x[4:], "train")
    ),
]
TABLES = [
    Case("names: too few", (*TEST, "--set", "data.names=three.txt"), ("three.txt: 3 class names, expected 19",)),
    Case(
        "names: bytes",
        (*TEST, "--set", "data.names=n.txt"),
        ("n.txt: not a UTF-8 text file",),
        file("n.txt", b"\xff\x81"),
    ),
    Case("names: a folder", (*TEST, "--set", "data.names=city"), ("city: no such file",)),
    Case(
        "colours: four numbers",
        (*TEST, "--set", "data.colors=c.txt"),
        ("c.txt, line 2: '1 2 3 4', expected R G B",),
        file("c.txt", "1 2 3\n1 2 3 4\n"),
    ),
    Case(
        "colours: too large",
        (*TEST, "--set", "data.colors=c.txt"),
        ("c.txt, line 1: '1 2 300'",),
        file("c.txt", "1 2 300"),
    ),
    Case(
        "colours: too few",
        (*TEST, "--set", "data.colors=c.txt"),
        ("c.txt: 1 colours, expected 19",),
        file("c.txt", "1 2 3"),
    ),
    Case(
        "colours: a picture",
        (*TEST, "--set", "data.colors=c.txt"),
        ("c.txt: not a UTF-8 text file",),
        file("c.txt", png()),
    ),
    Case("colours: other digits", (*TEST, "--set", "data.colors=c.txt"), ("c.txt, line 1: ",), file("c.txt", "² 1 1")),
]
CHECKPOINTS = [
    checkpoint("missing", lambda: None, "no such checkpoint"),
    Case("checkpoint: a folder", (*TEST, "--checkpoint", "city"), ("city: is a folder",)),
    checkpoint("empty", file("bad.pth", ""), "empty file"),
    checkpoint("text", file("bad.pth", "epoch 1"), "a text file"),
    checkpoint("a web page", file("bad.pth", "<!doctype html>"), "a web page"),
    checkpoint("a pointer", file("bad.pth", "version https://git-lfs.github.com/spec/v1\n"), "a Git LFS pointer"),
    checkpoint("a picture", file("bad.pth", png()), "some other file"),
    checkpoint("cut", lambda: shutil.copyfile("cut.pth", "bad.pth"), "damaged"),
    checkpoint("code", saved(lambda: {"state_dict": Payload(Path("ran"))}), "pickled code is never run"),
    checkpoint("of another network", lambda: shutil.copyfile("other.pth", "bad.pth"), "does not fit"),
    checkpoint("a list", saved(lambda: [1, 2]), "holds no state dict"),
    checkpoint("numbers for tensors", saved(lambda: {"state_dict": {"a": 1}}), "holds no state dict"),
    checkpoint("half a safetensors file", file("bad.pth", b"\x20\0\0\0\0\0\0\0{}"), "damaged, or no safetensors"),
    checkpoint("an npz file", lambda: write_zip(Path("bad.pth"), {"a.npy": npz_header((1,))}), "damaged"),
    Case("checkpoint: weights only, to resume", (*RUN[:-1], "--resume", "good.pth"), ("good.pth: has weights but no",)),
    Case("checkpoint: code, to resume", (*RUN[:-1], "--resume", "code.pth"), ("code.pth: ", "never run")),
]
