"""From a checkpoint to the archive that TorchServe serves: `python -m export --help`."""
