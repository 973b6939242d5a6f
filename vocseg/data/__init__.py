"""VOC on disk, as data sets, and as a LightningDataModule.

Others use `data.datamodule.VOCDataModule`, `data.reading`, and the tools `data.sample`, `data.download` and
`data.audit`.
Nothing is imported here, so that the tools do not wait for torch.
"""
