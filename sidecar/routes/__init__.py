"""The sidecar's routes, one module per resource: permissions, requests, answers. The modules that they import do the work."""
