"""The one door for clients: predictions passed on to TorchServe, and feedback that nothing loses."""
