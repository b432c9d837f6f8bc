"""A network so small that it trains in seconds, and what its export has to keep."""

from model.params import ExportParams

TINY = {
    "data.sets": "{synthetic: 1}",
    "data.synthetic_share": "0",
    "data.n_synthetic": "0",
    "data.validation_ratio": "0.2",
    "data.judging_ratio": "0.1",
    "network.width": "0.25",
    "network.depth": "0.3",
    "network.decoder": "[8, 8, 8, 8]",
    "network.is_from_imagenet": "false",
    "training.steps": "40",
    "training.batch": "4",
    "training.crop_px": "64",
    "training.warmup_steps": "5",
    "training.learning_rate": "0.01",
    "training.encoder_rate": "1",
    "training.ema_decay": "0.8",
    "training.validate_every": "10",
}

EXPORT = ExportParams(tolerance=1e-4, n_calibration=6, largest_iou_loss=0.02)
