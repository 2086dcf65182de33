"""No pickled code is run, whoever calls `torch.load`: this project, Catalyst, timm, torchvision or torch.hub."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

FORCED, LIFTED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
"""torch's own switches; it reads them at each load."""


@contextmanager
def no_pickled_code() -> Iterator[None]:
    """Inside the block `torch.load` is `weights_only`, even where its caller asks for more; also in child processes."""
    before = {name: os.environ.get(name) for name in (FORCED, LIFTED)}
    os.environ[FORCED] = "1"
    os.environ.pop(LIFTED, None)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
