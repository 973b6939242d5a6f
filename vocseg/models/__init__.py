"""Network and LightningModule."""
