"""The tester in batches: the control arm's numbers (`exact`) or nearly them (`fast`), several times sooner.

`semseg_ref.tester` stays the reference; `folder.test_images` takes its place file for file.
"""

MODES = ("exact", "fast")
TESTERS = ("reference", *MODES)
PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
"""Of the network under `fast`. These names are here for the command line, which shows them without importing torch."""
