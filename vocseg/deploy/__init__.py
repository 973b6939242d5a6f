"""Getting results out: masks of pictures, archives for VOC's server, weights for others.

It imports nothing, so that tools that live here answer without waiting for torch.
"""
