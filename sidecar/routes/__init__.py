"""The sidecar's routes, one module per resource: who may, what is asked, what is answered.

The work is done by the modules that they import.
"""
