"""TorchServe's side of the system: the handler that is packed into the archive, and how the server is started."""
