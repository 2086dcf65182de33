"""Terminal tables of the official score beside ours."""

from typing import Any

from rich.console import Console
from rich.table import Table


def _shown(value: float | None, form: str = ".4f", missing: str = "-") -> str:
    return missing if value is None else format(value, form)


def print_comparison(content: dict[str, Any], console: Console | None = None) -> None:
    """Prints an `official.json`: our IoU, the official one, their difference and iIoU of each class, and categories.

    Args:
        content: what `catalyst_cityscapes.evaluation.comparison.to_json` returns.
        console: where to print; None is the terminal.
    """
    console = console or Console()
    means, own = content["means"], content["own"]
    title = f"cityscapesScripts {content['cityscapesscripts']}, {content['images']} images"
    table = Table(title=title, show_footer=True)
    table.add_column("class", footer="mean")
    table.add_column("our IoU", justify="right", footer=_shown(own["mIoU present"], ".6f"))
    table.add_column("official IoU", justify="right", footer=_shown(means["IoU class"], ".6f"))
    largest = content["largest_difference"]
    table.add_column("difference", justify="right", footer=f"max {largest:.1e}")
    table.add_column("iIoU", justify="right", footer=_shown(means.get("iIoU class")))
    for row in content["classes"]:
        table.add_row(
            row["name"],
            f"{row['own_iou']:.6f}",
            _shown(row["iou"], ".6f", "absent"),
            _shown(row["difference"], "+.1e"),
            _shown(row["iiou"]),
        )
    console.print(table)
    categories = Table(show_footer=True)
    categories.add_column("category", footer="mean")
    categories.add_column("IoU", justify="right", footer=_shown(means["IoU category"]))
    categories.add_column("iIoU", justify="right", footer=_shown(means.get("iIoU category")))
    for row in content["categories"]:
        categories.add_row(row["name"], _shown(row["iou"], ".4f", "absent"), _shown(row["iiou"]))
    console.print(categories)
    console.print(
        f"official: IoU class {_shown(means['IoU class'])}, iIoU class {_shown(means.get('iIoU class'))}, "
        f"IoU category {_shown(means['IoU category'])}, iIoU category {_shown(means.get('iIoU category'))}",
        highlight=False,
        soft_wrap=True,
    )
    console.print(
        f"ours: mIoU over all classes {_shown(own['mIoU'])}, over those that occur {_shown(own['mIoU present'])}, "
        f"mAcc {_shown(own['mAcc'])}, allAcc {_shown(own['allAcc'])}",
        highlight=False,
        soft_wrap=True,
    )
