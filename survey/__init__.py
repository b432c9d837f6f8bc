"""Photographs by the folder: asked of a running sidecar, measured, and told in tables and pictures."""
