"""The benchmarks of RustTorch: ``python -m bench --help``, from the root of the repository."""
