"""Export, quantisation and measurement of networks for use without this package."""
