"""What training programs are made with: `brainnet train NAME` and `brainnet eval NAME` run them.

A training program is a Python file that defines `Settings`, a subclass of :class:`TrainingSettings` with its
hyper-parameters, `train(run)`, which writes `run.weights`, and `evaluate(run)`, which yields a
:class:`~brainnet.rows.Row` for each figure, measured on held-out data beside its baseline. The programs of our
regions stand beside them, as `nodes/REGION/REGION_training.py`; a path names any other.
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
