"""VOC on disk, as data sets, and as a LightningDataModule.

Others use `data.datamodule.VOCDataModule`, `data.reading`, and the tools `data.sample` and `data.download`.
Nothing is imported here, so that the tools do not wait for torch.
"""
