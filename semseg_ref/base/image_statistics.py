"""Mean and standard deviation of ImageNet's channels (RGB, 0 to 255); importable without torch."""

MEAN: list[float] = [0.485 * 255, 0.456 * 255, 0.406 * 255]
STD: list[float] = [0.229 * 255, 0.224 * 255, 0.225 * 255]
