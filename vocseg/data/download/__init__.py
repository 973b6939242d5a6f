"""Getting VOC 2012 and SBD: fetched, proven by MD5, unpacked whole or not at all.

Others use the tool `download`, and `download_voc` and `download_sbd` where a set is missing.
"""

from vocseg.data.download.command import download
from vocseg.data.download.sbd import download_sbd
from vocseg.data.download.voc2012 import download_voc

__all__ = ["download", "download_sbd", "download_voc"]
