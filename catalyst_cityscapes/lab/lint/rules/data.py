"""Rules about list files, labels and class tables."""

from collections.abc import Iterator

from catalyst_cityscapes.lab.lint.facts import Facts
from catalyst_cityscapes.lab.lint.finding import Diagnostic, Rule
from catalyst_cityscapes.lab.lint.issues import (
    CLAIMED,
    LABELS_PSPNET,
    LABELS_SCRIPTS,
    LABELS_SEMSEG,
    SPLIT_CHANGE,
)
from catalyst_cityscapes.lab.lint.reference import IMAGES, VAL_IMAGES
from semseg_ref.base.errors import DataError
from semseg_ref.catalog import load_colors, load_names
from semseg_ref.evaluation import output_names

CITYSCAPES_LABEL_IDS = 34
MOSTLY_IGNORED = 0.5


def _no_data(facts: Facts) -> Iterator[Diagnostic]:
    if facts.lists is None:
        yield Diagnostic("note", facts.skipped[0])


def _unusable_list(facts: Facts) -> Iterator[Diagnostic]:
    for each in facts.lists.both if facts.lists else ():
        if each.problem:
            yield Diagnostic("error", each.problem, {"list": each.path})


def _missing_files(facts: Facts) -> Iterator[Diagnostic]:
    for each in facts.lists.both if facts.lists else ():
        if each.missing:
            yield Diagnostic(
                "error",
                f"{each.path}: {len(each.missing)} files of its {each.lines} lines are missing, first "
                f"{each.missing[0]}",
                {"list": each.path, "missing": len(each.missing), "lines": each.lines},
            )


def _label_ids(facts: Facts) -> Iterator[Diagnostic]:
    lists, data = facts.lists, facts.recipe.data
    for each in lists.both if lists else ():
        if each.other_encodings:
            yield Diagnostic(
                "error",
                f"{each.path}: {len(each.other_encodings)} of {each.lines} labels are no images of train ids by their "
                f"names, first {each.other_encodings[0]}",
                {"list": each.path, "labels": len(each.other_encodings)},
            )
    if lists and lists.labels.outside:
        path, values = next(iter(lists.labels.outside.items()))
        stray = sorted({v for found in lists.labels.outside.values() for v in found})
        share = lists.labels.pixels[stray].sum() / lists.labels.pixels.sum()
        hint = "; they look like label ids" if data.classes == 19 and stray[-1] < CITYSCAPES_LABEL_IDS else ""
        yield Diagnostic(
            "error",
            f"{len(lists.labels.outside)} of {lists.labels.read} labels hold values outside 0..{data.classes - 1} and "
            f"{data.ignore_index}: {', '.join(map(str, stray[:8]))} on {share:.1%} of the pixels; first {path}{hint}",
            {"labels": len(lists.labels.outside), "values": stray, "share": float(share), "first": values},
        )


def _label_format(facts: Facts) -> Iterator[Diagnostic]:
    if facts.lists and facts.lists.labels.refused:
        refused = facts.lists.labels.refused
        yield Diagnostic(
            "error",
            f"{len(refused)} of the images with their labels that were read are refused, first {refused[0]}",
            {"labels": len(refused)},
        )


def _label_size(facts: Facts) -> Iterator[Diagnostic]:
    if facts.lists and facts.lists.labels.sizes:
        path, (image, label) = next(iter(facts.lists.labels.sizes.items()))
        yield Diagnostic(
            "error",
            f"{len(facts.lists.labels.sizes)} labels differ in size from their image, first {path}: "
            f"{label[0]} x {label[1]} beside {image[0]} x {image[1]}",
            {"labels": len(facts.lists.labels.sizes)},
        )


def _image_sizes(facts: Facts) -> Iterator[Diagnostic]:
    if facts.lists and len(facts.lists.labels.image_sizes) > 1:
        sizes = sorted(facts.lists.labels.image_sizes)
        yield Diagnostic(
            "note",
            f"{len(sizes)} sizes among {facts.lists.labels.read} images, {sizes[0]} to {sizes[-1]}; the geometry was "
            f"measured at {facts.size}",
            {"sizes": [list(size) for size in sizes]},
        )


def _overlap(facts: Facts) -> Iterator[Diagnostic]:
    if facts.lists and facts.lists.shared:
        train, val = facts.lists.shared[0]
        count = len(facts.lists.shared)
        yield Diagnostic(
            "error",
            f"{count} of {facts.lists.val.lines} validation images are trained on, first {val} (as {train})",
            {"images": count, "validation": facts.lists.val.lines},
        )


def _duplicates(facts: Facts) -> Iterator[Diagnostic]:
    for each in facts.lists.both if facts.lists else ():
        if each.duplicates:
            line, earlier = each.duplicates[0]
            yield Diagnostic(
                "warning",
                f"{each.path}: {len(each.duplicates)} of {each.lines} lines repeat an image, first line {line} that of "
                f"line {earlier}",
                {"list": each.path, "repeated": len(each.duplicates), "lines": each.lines},
            )


def _list_length(facts: Facts) -> Iterator[Diagnostic]:
    if facts.lists is None:
        return
    recipe, lists = facts.recipe, facts.lists
    claims = recipe.expected is not None and recipe.expected.miou is not None and recipe.data.classes == 19
    if not claims and lists.dataset != "cityscapes":
        return
    for each, count in zip(lists.both, (IMAGES, VAL_IMAGES), strict=True):
        if each.lines != count:
            yield Diagnostic(
                "warning",
                f"{each.path} has {each.lines} lines, the published one {count}",
                {"list": each.path, "lines": each.lines, "published": count},
            )


def _class_tables(facts: Facts) -> Iterator[Diagnostic]:
    data = facts.recipe.data
    for key, load in (("names", load_names), ("colors", load_colors)):
        try:
            load(getattr(data, key), data.classes)
        except DataError as error:
            yield Diagnostic("error", f"data.{key}: {error}; data.classes is {data.classes}")


def _ignore_is_class(facts: Facts) -> Iterator[Diagnostic]:
    data = facts.recipe.data
    if data.ignore_index < data.classes:
        yield Diagnostic(
            "error",
            f"data.ignore_index {data.ignore_index} is one of the {data.classes} classes",
            {"ignore_index": data.ignore_index, "classes": data.classes},
        )


def _prediction_names(facts: Facts) -> Iterator[Diagnostic]:
    if facts.lists is None or facts.lists.val.problem:
        return
    try:
        output_names(facts.lists.val.pairs)
    except DataError as error:
        yield Diagnostic("error", f"{facts.lists.val.path}: {error}")


def _one_class(facts: Facts) -> Iterator[Diagnostic]:
    if facts.lists is None:
        return
    data, pixels = facts.recipe.data, facts.lists.labels.pixels
    seen, ignored = [c for c in range(data.classes) if pixels[c]], int(pixels[data.ignore_index])
    if len(seen) == 1 and ignored and data.ignore_index >= data.classes:
        yield Diagnostic(
            "error",
            f"class {seen[0]} is the only one in {facts.lists.labels.read} labels, beside {ignored / pixels.sum():.1%} "
            f"of pixels that are {data.ignore_index}, which is ignored",
            {"class": seen[0], "ignored": ignored, "labels": facts.lists.labels.read},
        )


def _unseen_classes(facts: Facts) -> Iterator[Diagnostic]:
    if facts.lists is None or not facts.lists.labels.read:
        return
    classes = facts.recipe.data.classes
    absent = [c for c in range(classes) if not facts.lists.labels.pixels[c]]
    if absent:
        yield Diagnostic(
            "note",
            f"no pixel of {len(absent)} of {classes} classes in {facts.lists.labels.read} labels: "
            f"{', '.join(map(str, absent))}; a class that never occurs counts as 0 in mIoU",
            {"classes": absent, "labels": facts.lists.labels.read},
        )


def _mostly_ignored(facts: Facts) -> Iterator[Diagnostic]:
    samples = facts.samples
    if samples is not None and samples.ignored.mean() > MOSTLY_IGNORED:
        yield Diagnostic(
            "warning",
            f"{samples.ignored.mean():.0%} of the pixels of {samples.count} training samples are ignored",
            {"ignored": float(samples.ignored.mean())},
        )


RULES = (
    Rule(
        "no-data",
        ("note",),
        "data",
        "whether the lists and their files are there",
        "put the data set where data.root and the lists say (catalyst-dl prepare), or go on without",
        _no_data,
    ),
    Rule(
        "unusable-list",
        ("error",),
        "data",
        "both lists, read as the training reads them, and the manifest of a prepared data set",
        "write one `image label` a line with one space between; catalyst-dl prepare writes such lists",
        _unusable_list,
    ),
    Rule(
        "missing-files",
        ("error",),
        "data",
        "every path of both lists",
        "check data.root, or prepare the data set again",
        _missing_files,
    ),
    Rule(
        "label-ids",
        ("error",),
        "data",
        "names of all labels, and every pixel of some labels of both lists",
        "use train ids: catalyst-dl prepare writes *_labelTrainIds.png and lists that name them",
        _label_ids,
        (LABELS_SEMSEG, LABELS_PSPNET, LABELS_SCRIPTS),
    ),
    Rule(
        "label-format",
        ("error",),
        "data",
        "some images and labels of both lists, read as the training reads them",
        "store labels as PNG with one 8-bit channel of class indices, images with 8 bits a sample and no orientation",
        _label_format,
        (LABELS_SEMSEG,),
    ),
    Rule(
        "label-size",
        ("error",),
        "data",
        "sizes of some images and their labels",
        "make the label anew at the size of its image",
        _label_size,
    ),
    Rule(
        "image-sizes", ("note",), "data", "sizes of some images", "nothing, if they are meant to differ", _image_sizes
    ),
    Rule(
        "train-val-overlap",
        ("error",),
        "data",
        "all images of both lists, by path and by bytes",
        "take them out of data.train_list",
        _overlap,
        (SPLIT_CHANGE,),
    ),
    Rule(
        "duplicate-images",
        ("warning",),
        "data",
        "all images of each list, by path and by bytes",
        "remove the repeated lines, or say in the recipe's name that these images count twice",
        _duplicates,
    ),
    Rule(
        "list-length",
        ("warning",),
        "official recipe",
        "lines of both lists, where the recipe carries a published Cityscapes number or the data set was prepared as "
        "Cityscapes",
        "use the published lists (2975 and 500 lines), or set expected: null",
        _list_length,
        (CLAIMED,),
    ),
    Rule(
        "class-tables",
        ("error",),
        "own words",
        "lines of data.names and data.colors beside data.classes",
        "set data.classes to the number of lines, or name the data set's own tables",
        _class_tables,
    ),
    Rule(
        "ignore-index-is-class",
        ("error",),
        "own words",
        "data.ignore_index beside data.classes",
        "set data.ignore_index to a value that is no class, as 255",
        _ignore_is_class,
    ),
    Rule(
        "prediction-names",
        ("error",),
        "own protocol",
        "the names that predictions of the validation list will have: up to the first dot, without folders",
        "rename the images, or link them under other names",
        _prediction_names,
    ),
    Rule(
        "one-class",
        ("error",),
        "data",
        "pixels of each class and of data.ignore_index in some labels",
        "write class indices into the labels, as 1 for 255 in masks of 0 and 255",
        _one_class,
    ),
    Rule(
        "unseen-classes",
        ("note",),
        "data",
        "pixels of each class in some labels",
        "raise --samples to look at more labels; nothing, if the class is rare",
        _unseen_classes,
    ),
    Rule(
        "mostly-ignored",
        ("warning",),
        "data",
        "ignored pixels of drawn training samples",
        "look at them with catalyst-dl browse; check data.ignore_index and the augmentation's padding",
        _mostly_ignored,
    ),
)
