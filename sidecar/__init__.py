"""The API for clients: it passes predictions on to TorchServe, and stores feedback durably."""
