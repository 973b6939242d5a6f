"""What VOC's evaluation server takes: `python -m vocseg submit`.

Others use the tool `submit`, and what a check of an archive found.
"""

from vocseg.deploy.submission.checking import check_archive
from vocseg.deploy.submission.faults import Fault
from vocseg.deploy.submission.result import Check
from vocseg.deploy.submission.tool import submit

__all__ = ["Check", "Fault", "check_archive", "submit"]
