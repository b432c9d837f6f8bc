"""A model card for tests of the inference core: small tiles, and what a network is given is pixel / 255."""

from model.inference.card import ModelCard

CARD = ModelCard(
    version="20260101-000000",
    mean=(0.0, 0.0, 0.0),
    deviation=(255.0, 255.0, 255.0),
    stride=4,
    tile_px=48,
    overlap_px=8,
    threshold=0.4,
    architecture={},
    training={},
)
