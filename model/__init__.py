"""The crack segmentation model: its network, its training and, in `model.inference`, all that serving it needs."""
