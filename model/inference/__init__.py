"""From the bytes of a photograph to a crack mask, without torch and without a server.

`photograph` decodes, with `formats`, `structure`, `tiff` and `heif` for what a file is; `tiling` cuts and stitches, `runtime`
runs the network, `segmenter` joins the three. `cracks`, `centre_lines` and `widths` measure; `surface`, `camera`, `markers` and
`plane` tell the scale, `standards` the bands. `options` reads what a client asks for, `answer` turns the result into JSON or
pictures, `card` holds the numbers that travel with a model, `errors` says what can go wrong. The folder is packed into the
TorchServe archive: it imports numpy, Pillow, pi-heif, OpenCV and its runtimes.
"""
