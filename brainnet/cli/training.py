"""Shared by `brainnet train` and `brainnet eval`: their options, and the run that follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brainnet.errors import TrainingError

if TYPE_CHECKING:
    from brainnet.training import Program, Run

DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Folder with the public data; nodes/README.md lists it."),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option("--weights", metavar="FILE", help="The weights; by default those beside the region in this checkout."),
]
DeviceOption = Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of every random draw.")]
ThreadsOption = Annotated[int, typer.Option("--threads", min=1, help="CPU threads.")]
ProfileOption = Annotated[
    str | None, typer.Option("--profile", metavar="NAME", help="Named settings from config/training_config.yaml.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting; may be repeated.")
]


def program_of(name: str) -> Program:
    """Import a training program by its name or file."""
    from brainnet.training import find_program

    return find_program(name)


def run_of(
    program: Program,
    *,
    data: Path | None,
    weights: Path | None,
    device: str,
    seed: int,
    threads: int,
    profile: str | None,
    changes: list[str] | None,
    resume: bool = False,
) -> Run[Any]:
    """Make the run of a training program from the options."""
    from brainnet.training import Run

    return Run(
        program.name,
        program.configure(profile, _changes(changes or [])),
        weights or default_weights(program),
        data_dir=data,
        device=_check_device(device),
        seed=seed,
        threads=threads,
        resume=resume,
    )


def default_weights(program: Program) -> Path:
    """Return the default file of a program's weights.

    In a checkout it is beside the region; for a program from elsewhere, or without a checkout, in the current folder.
    """
    from brainnet.paths import region_file, share_dir
    from brainnet.training import programs

    name = f"{program.name}.safetensors"
    if program.name in programs() and (share_dir() / "pyproject.toml").exists():
        return region_file(program.name, ".safetensors")
    return Path(name)


def _changes(assignments: list[str]) -> Mapping[str, Any]:
    from brainnet import yaml_text
    from brainnet.errors import TextError

    changes = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise TrainingError(f"--set takes KEY=VALUE, not {text!r}")
        try:
            changes[key.strip()] = yaml_text.parse(value, f"--set {key.strip()}").value
        except TextError as error:
            raise TrainingError(str(error)) from None
    return changes


def _check_device(device: str) -> str:
    import torch

    # torch accepts the name of any device; only an allocation shows whether this machine has it.
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise TrainingError(f"--device {device} cannot be used here: {reason}") from None
    return device
