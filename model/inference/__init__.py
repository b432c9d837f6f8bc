"""From the bytes of a photograph to a crack mask, without torch and without a server.

`photograph` decodes, `tiling` cuts and stitches, `runtime` runs the network, `segmenter` joins the three, `options` reads what
a client asks for, `answer` turns the result into JSON or pictures, `card` holds the numbers that travel with a model, `errors`
says what can go wrong, `processors` counts the cores at hand. The folder is packed into the TorchServe archive: it imports
numpy, Pillow and its runtimes, and OpenCV where a marker is looked for.
"""
