"""Orthomosaics: a GeoTIFF of any size read by windows, a mask and cracks as vectors in its coordinates.

`raster` reads, `probability` predicts over all of it with the seams of a photograph, `blocks` measures part by part and joins
the parts, `writing` writes, `run` does these steps in order and continues where it was stopped. Needs rasterio and pyogrio,
which nothing else of a survey imports.
"""
