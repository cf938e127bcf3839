"""doctor: would Lamella run well here, with these settings?

One check a file, each fast and each answering in one sentence what is wrong and what to do.
Nothing is made or changed: a data folder that does not exist yet stays so.
"""

from lamella.upkeep.doctor.examination import examine
from lamella.upkeep.doctor.result import CheckResult, Status

__all__ = ["CheckResult", "Status", "examine"]
