"""Checks that the file of a model can be read, before a node loads it."""

from __future__ import annotations

from pathlib import Path

from brainnet.errors import ConfigError


def check_weights(path: Path) -> None:
    """Check the file of a model: it is there, can be read, is not empty, and is what its name says.

    Only the header of a safetensors file is read; other formats are for their loaders.

    Raises:
        ConfigError: The file cannot be used; says why.
    """
    try:
        with path.open("rb") as file:
            first = file.read(1)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not first:
        raise ConfigError(f"{path} is empty; copy the file again")
    if path.suffix == ".safetensors":
        import safetensors

        try:
            with safetensors.safe_open(path, framework="numpy"):
                pass
        except (safetensors.SafetensorError, OSError) as error:
            raise ConfigError(f"{path} is no safetensors file ({error}); copy or train it again") from None
