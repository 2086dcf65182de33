"""The parts of benchmarks/gpu_all.py, one a module, each run as `python -m gpu.PART`."""
