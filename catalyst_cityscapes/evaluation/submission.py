"""The zip file for the Cityscapes test server: label-id PNGs named after the images, verified as a whole."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from catalyst_cityscapes.evaluation.label_ids import (
    CLASSES,
    NO_PREDICTION,
    VOID_ID,
    label_table,
    read_prediction,
    to_label_ids,
)
from catalyst_cityscapes.evaluation.predictions import frame_of
from catalyst_cityscapes.prepare.archive import BAD_ZIP, MAX_MEMBER_BYTES
from catalyst_cityscapes.prepare.label_image import image_size
from semseg_ref.base.errors import DataError, InputError
from semseg_ref.base.files import create_folder, replace_atomically
from semseg_ref.base.safe.image_header import PNG_SIGNATURE, declared_size
from semseg_ref.dataset import read_label
from semseg_ref.evaluation import output_names

TEST_IMAGES = 1525
FULL_SIZE = (1024, 2048)


@dataclass(frozen=True)
class Submission:
    """What a zip file must hold.

    Attributes:
        sizes: (height, width) of each file by name: of the image that it is named after.
    """

    sizes: Mapping[str, tuple[int, int]]

    @property
    def is_real(self) -> bool:
        """Whether this is the Cityscapes test set, by its number of images."""
        return len(self.sizes) == TEST_IMAGES


def expected_submission(data_list: Sequence[tuple[str, str]]) -> Submission:
    """Names and sizes for the images of a test list.

    Images that are not at hand are taken for 1024 x 2048.

    Raises:
        DataError: a name that is not Cityscapes', two images of one name, an unreadable image.
    """
    sizes = {}
    for name, (image_path, _) in zip(output_names(data_list), data_list, strict=True):
        if frame_of(name) is None:
            raise DataError(
                f"{image_path}: the test server needs names CITY_123456_123456*, this one is not Cityscapes'"
            )
        sizes[name] = FULL_SIZE
        if Path(image_path).is_file():
            sizes[name] = image_size(Path(image_path))
    return Submission(sizes)


def _check_names(found: Sequence[str], expected: Submission, where: Path) -> None:
    missing = [name for name in expected.sizes if name not in set(found)]
    extra = [name for name in found if name not in expected.sizes]
    if missing:
        raise DataError(f"{where}: {len(missing)} of {len(expected.sizes)} images are missing (first: {missing[0]})")
    if extra:
        raise DataError(f"{where}: {len(extra)} files belong to no image of the list (first: {extra[0]})")
    if len(found) != len(set(found)):
        raise DataError(f"{where}: {len(found) - len(set(found))} names occur twice")


def _check_size(shape: tuple[int, ...], name: str, expected: Submission, where: str) -> None:
    if shape != expected.sizes[name]:
        height, width = expected.sizes[name]
        raise DataError(f"{where}: size {shape[0]} x {shape[1]}, expected {height} x {width}")


def check_label_ids(label_ids: np.ndarray, where: str, allow_void: bool = False) -> None:
    """Raises DataError when an image holds anything but the 19 evaluated label ids (and 0 with `allow_void`).

    Args:
        label_ids: uint8 [H, W].
        where: the file, for the message.
        allow_void: accept 0, a pixel without a prediction, which the server counts as wrong.
    """
    allowed = set(label_table().ids.tolist()) | ({VOID_ID} if allow_void else set())
    values = {int(value) for value in np.unique(label_ids)}
    wrong = sorted(values - allowed)
    if not wrong:
        return
    shown = ", ".join(map(str, wrong[:8])) + (", ..." if len(wrong) > 8 else "")
    hint = ""
    if wrong == [VOID_ID]:
        hint = "; 0 is a pixel without a prediction, which --allow-void accepts; or are these train ids?"
    elif len(values & set(range(CLASSES))) > len(values & allowed):
        hint = "; train ids? --predictions FOLDER converts them"
    raise DataError(f"{where}: values {shown}, expected label ids ({', '.join(map(str, sorted(allowed)))}){hint}")


def _png(label_ids: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(label_ids).save(buffer, format="PNG")
    return buffer.getvalue()


def write_submission(
    folder: Path, expected: Submission, output: Path, are_label_ids: bool = False, allow_void: bool = False
) -> Path:
    """Writes the zip file; it appears under its name only when it is complete and verified.

    Args:
        folder: PNG files, one an image of the list: train ids, or label ids that only need packing.
        expected: names and sizes.
        output: the zip file.
        are_label_ids: the files are label ids already.
        allow_void: accept pixels without a prediction.

    Raises:
        DataError: missing, superfluous or unreadable files, wrong sizes, wrong values.
    """
    _check_names([path.name for path in sorted(folder.glob("*.png"))], expected, folder)
    create_folder(output.parent)

    def write(file: io.BufferedIOBase) -> None:
        # Stored: PNG data does not shrink any further.
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name in expected.sizes:
                path = folder / name
                if are_label_ids:
                    label_ids = read_label(path)
                else:
                    prediction = read_prediction(path)
                    empty = float((prediction == NO_PREDICTION).mean())
                    if empty and not allow_void:
                        raise DataError(
                            f"{path}: {empty:.2%} of the pixels have no prediction (255), and the server counts them "
                            "as wrong; --allow-void writes them as 0"
                        )
                    label_ids = to_label_ids(prediction)
                _check_size(label_ids.shape, name, expected, str(path))
                check_label_ids(label_ids, str(path), allow_void)
                # A fixed date: equal predictions give equal bytes.
                archive.writestr(zipfile.ZipInfo(name), _png(label_ids))
        file.flush()
        verify_submission(Path(file.name), expected, allow_void)

    replace_atomically(output, write)
    return output


def _read_member(archive: zipfile.ZipFile, name: str, where: str) -> bytes:
    claimed = archive.getinfo(name).file_size
    if claimed > MAX_MEMBER_BYTES:
        raise DataError(f"{where}: claims {claimed} bytes unpacked, expected at most {MAX_MEMBER_BYTES}; refused")
    try:
        return archive.read(name)
    except BAD_ZIP as error:
        raise DataError(f"{where}: damaged ({error})") from error


def verify_submission(path: Path, expected: Submission, allow_void: bool = False) -> int:
    """Reads a zip file back and checks all of it: names, sizes, one channel of 8 bits, label ids.

    Returns:
        The number of images.

    Raises:
        DataError: naming the first file that is wrong.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
            _check_names(names, expected, path)
            for name in names:
                where = f"{path}: {name}"
                content = _read_member(archive, name, where)
                if content.startswith(PNG_SIGNATURE):
                    declared_size(content, where)
                with Image.open(io.BytesIO(content)) as image:
                    if image.format != "PNG" or image.mode != "L":
                        raise DataError(f"{where}: {image.format} of mode {image.mode}, expected an 8-bit grey PNG")
                    label_ids = np.array(image)
                _check_size(label_ids.shape, name, expected, where)
                check_label_ids(label_ids, where, allow_void)
    except (*BAD_ZIP, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if isinstance(error, InputError):
            raise
        raise DataError(f"{path}: cannot be read as a zip file of images ({error})") from error
    return len(names)
