"""Orthomosaics: a GeoTIFF of any size read by windows, a mask and cracks as vectors in its coordinates.

`raster` reads, `probability` predicts over all of it with the seams of a photograph, `blocks` measures part by part and joins
the parts, `writing` and `layers` write, `run` does these steps in order and continues where it was stopped. `surveyed` opens
what was written, and `compare` compares two of them, block by block as `beside` says. Needs rasterio and pyogrio, which nothing
else of a survey imports.
"""

STATE = "mosaic.json"  # in a survey's folder: what was asked, and figures once it has ended
