"""From predictions to the official number: label ids, cityscapesScripts' evaluation, the test server's zip file."""

from catalyst_cityscapes.evaluation.occurring import mmseg_iou

__all__ = ["mmseg_iou"]
