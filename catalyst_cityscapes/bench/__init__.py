"""Measurements of ours against the control arm, in interleaved repeats in one process."""

# Here and not beside what uses them: the command line shows them without importing torch.
STEP_ARMS: dict[str, tuple[str, ...]] = {
    "fp32": (),
    "fp32 channels_last": ("engine.memory_format=channels_last",),
    "bf16": ("engine.precision=bf16",),
    "bf16 channels_last": ("engine.precision=bf16", "engine.memory_format=channels_last"),
    "bf16 channels_last compile fused": (
        "engine.precision=bf16",
        "engine.memory_format=channels_last",
        "engine.compile=default",
        "optimizer.fused=true",
    ),
    "bf16 fast_step": (
        "engine.precision=bf16",
        "engine.memory_format=channels_last",
        "engine.compile=default",
        "engine.cudnn_benchmark=true",
        "engine.resize=products",
        "optimizer.fused=true",
    ),
}
"""Name -> settings of a training step that is timed against the control arm; the last is `swap/fast_step` without what
only a loader feels."""

TESTER_PARTS = ("outside", "network", "curves", "memory")
"""What of the tester is timed."""
