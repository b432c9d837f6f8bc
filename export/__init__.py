"""From a checkpoint to the archive that TorchServe serves: `crack export --help`."""
