"""The library of training programs, which `brainnet train NAME` and `brainnet eval NAME` run.

A training program is a Python file that defines `Settings`, a subclass of `TrainingSettings` with its
hyper-parameters, `train(run)`, which writes `run.weights`, and `evaluate(run)`, which yields a `Row` for each figure,
measured on held-out data beside its baseline. The programs that come with brainnet are
`nodes/REGION/REGION_training.py`; any other is named by its path.
"""

from brainnet.rows import Row, compare
from brainnet.training.metrics import expected_calibration_error, ndcg, recall
from brainnet.training.program import Program, find_program, programs
from brainnet.training.run import Run, TrainingSettings
from brainnet.training.weights import save_weights

__all__ = [
    "Program",
    "Row",
    "Run",
    "TrainingSettings",
    "compare",
    "expected_calibration_error",
    "find_program",
    "ndcg",
    "programs",
    "recall",
    "save_weights",
]
