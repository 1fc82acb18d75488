"""What every training program shares: its options, its progress bar, and how weights are written."""

import argparse
import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors.torch import save_file
from torch import Tensor

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"


def arguments(description: str, weights: str, *, data: bool = True) -> argparse.ArgumentParser:
    """A parser with the options that all training programs take; ``weights`` names the default output file.

    ``data`` says whether the program needs ``--data``; one that makes its own data accepts the option and ignores it.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data", type=Path, required=data, help="folder with the training data")
    parser.add_argument("--out", type=Path, default=WEIGHTS / weights, help="weights file to write")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    return parser


def seeded(seed: int, threads: int = 1) -> torch.Generator:
    """Seed Python, NumPy and torch, fix the number of threads, and return a CPU generator for sampling."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    return torch.Generator().manual_seed(seed)


def progress() -> Progress:
    """A progress bar that also shows plain lines through ``progress().console.print``."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    )


def save_weights(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str], dtype: torch.dtype) -> None:
    """Write ``tensors`` as safetensors of ``dtype``, creating the folder, and print the size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: x.detach().to("cpu", dtype).contiguous() for name, x in tensors.items()}, path, metadata)
    path.chmod(0o644)  # safetensors writes files for the owner alone
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
