"""What a study's rows mean: convergence, less data, over-fitting, exposure, cost, and one answer with its uncertainty.

    load -> arms -> convergence, overfitting, exposure, cost, statistics -> verdict -> figures, page, tables -> report

Reads storage only; loads neither torch nor ray.
"""

from analysis.load import StudyTable, load_study
from analysis.report import Report, write_report

__all__ = ["Report", "StudyTable", "load_study", "write_report"]
