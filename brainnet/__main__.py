"""`python -m brainnet` is the `brainnet` command."""

from __future__ import annotations

from brainnet.cli import main

if __name__ == "__main__":
    main()
