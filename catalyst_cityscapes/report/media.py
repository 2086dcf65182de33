"""Images, folders and videos to predict: found, checked, read and written."""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from semseg_ref.base.errors import DataError, InputError
from semseg_ref.base.safe.image_header import MAX_PIXELS, check_pixels

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".tif", ".tiff", ".webp")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
DEFAULT_RATE = 25.0
# ffmpeg prints lines of its own for a damaged video; our message says it all. Read when a video is first opened.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


@dataclass(frozen=True)
class Medium:
    """A file to predict, and the path of its results without any ending, relative to the output folder."""

    path: Path
    stem: Path

    @property
    def is_video(self) -> bool:
        """By the file's ending."""
        return self.path.suffix.lower() in VIDEO_SUFFIXES


def find_media(inputs: Sequence[str], output: Path) -> list[Medium]:
    """Files of the inputs in order; of a folder its images and videos, sub-folders included, by name.

    Results of a folder keep its sub-folders. What lies in the output folder is no input.

    Args:
        inputs: files and folders.
        output: folder of the results.

    Raises:
        DataError: a missing input, or a folder without any image or video.
        InputError: two inputs whose results would have one name.
    """
    media: list[Medium] = []
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            found = [file for file in sorted(path.rglob("*")) if _is_medium(file) and not _lies_in(file, output)]
            if not found:
                endings = " ".join((*IMAGE_SUFFIXES, *VIDEO_SUFFIXES))
                raise DataError(f"{name}: no image or video in this folder (endings: {endings})")
            media += [Medium(file, file.relative_to(path).with_suffix("")) for file in found]
        elif path.is_file():
            media.append(Medium(path, Path(path.stem)))
        else:
            raise DataError(f"{name}: no such image, folder or video")
    owners: dict[tuple[Path, bool], Path] = {}
    for medium in media:
        owner = owners.setdefault((medium.stem, medium.is_video), medium.path)
        if owner is not medium.path:
            raise InputError(f"{owner} and {medium.path} would both be written to {output / medium.stem}_*; rename one")
    return media


def _is_medium(path: Path) -> bool:
    return path.suffix.lower() in (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES) and path.is_file()


def _lies_in(path: Path, folder: Path) -> bool:
    return folder.resolve() in path.resolve().parents


class VideoReader:
    """Frames of a video file, uint8 [H, W, 3], RGB, upright.

    Args:
        path: the file.

    Attributes:
        rate: frames a second; 25 where the file does not say.
        announced: number of frames that the file announces, 0 where it does not say.
        read: frames delivered so far.

    Raises:
        DataError: no video that OpenCV reads, one without a readable frame, or frames of more than `MAX_PIXELS`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._capture = cv2.VideoCapture(str(path))
        if self._capture.isOpened():
            sides = (self._capture.get(kind) for kind in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH))
            height, width = (int(side) if math.isfinite(side) else 0 for side in sides)
            if height * width > MAX_PIXELS:
                self._capture.release()
                check_pixels(height, width, path)
        opened, frame = self._capture.read() if self._capture.isOpened() else (False, None)
        if not opened:
            self._capture.release()
            raise DataError(f"{path}: damaged, or no video that OpenCV reads: not one frame could be decoded")
        self._first = frame
        rate, count = self._capture.get(cv2.CAP_PROP_FPS), self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.rate = rate if math.isfinite(rate) and 0 < rate <= 1000 else DEFAULT_RATE
        self.announced = int(count) if math.isfinite(count) and count > 0 else 0
        self.read = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        frame = self._first
        decoded = True
        while decoded:
            self.read += 1
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            decoded, frame = self._capture.read()
        self._capture.release()


class VideoWriter:
    """Writes an .mp4 (MPEG-4 part 2); the file appears under its name when it is closed, and only then.

    Args:
        path: the file.
        rate: frames a second.

    Raises:
        InputError: this OpenCV cannot write such a video there.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self.path, self.rate = path, rate
        self._temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
        self._writer: cv2.VideoWriter | None = None

    def write(self, frame: np.ndarray) -> None:
        """Adds a frame, uint8 [H, W, 3], RGB; all frames have the first one's size. Odd sides grow by a white pixel."""
        height, width = frame.shape[:2]
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), constant_values=255)
        if self._writer is None:
            size = (frame.shape[1], frame.shape[0])
            self._writer = cv2.VideoWriter(str(self._temporary), cv2.VideoWriter_fourcc(*"mp4v"), self.rate, size)
            if not self._writer.isOpened():
                raise InputError(f"{self.path}: this OpenCV cannot write an .mp4 video there")
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if self._writer is not None:
            self._writer.release()
        if kind is None and self._temporary.exists():
            os.replace(self._temporary, self.path)
        self._temporary.unlink(missing_ok=True)
