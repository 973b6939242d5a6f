"""What is wrong with a data set: `python -m vocseg audit`.

Others use the tool `audit`, the `Audit` that it returns, and its `Finding`s.
"""

from vocseg.data.audit.findings import Finding
from vocseg.data.audit.report import Audit
from vocseg.data.audit.tool import audit

__all__ = ["Audit", "Finding", "audit"]
