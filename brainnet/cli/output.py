"""The one way from a verb to standard output and standard error.

Guarantees:

- Writing never raises, and never ends a verb that has work to finish: what cannot be written is dropped, and `finish`
  says with which status the command ends then. A reader that has left, as `head` does, is no failure. Any other reason,
  such as a full disk or a closed stream, is said in one sentence on standard error, and makes the status non-zero.
- A verb without an end of its own runs inside of `endless`, and is ended when nobody can read what it prints.
- Text is never markup, and what others wrote acts on no terminal: control characters, line breaks, marks that change
  the direction of writing and invisible characters are shown as escapes. Only `text` and `chunk` keep line breaks.
- A character that the encoding of the stream lacks is shown as an escape.
- Colours and styles appear on a terminal only, and not where NO_COLOR or TERM=dumb asks for none.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import math
import os
import select
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from brainnet import stdio
from brainnet.texts import escape_json, printable, shorten

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

WIDE: Final = 200
"""Columns of a table that does not go to a terminal. Rich assumes 80 for a pipe, and would cut what a script reads."""
_NARROW: Final = 40
"""Columns below which nothing that is laid out is readable; it is laid out wider, and the terminal breaks its lines."""
_MAX_NOTE: Final = 4000


class Styled(NamedTuple):
    """A text with a style, such as `bold red`."""

    text: str
    style: str


Cell = str | Styled


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        title: Its title.
        right: Whether its cells are aligned to the right, as numbers are.
        whole: Whether its cells are kept on one line.
    """

    title: str
    right: bool = False
    whole: bool = False


class OutputEnded(Exception):
    """Nobody can read what an endless verb prints; the dispatcher ends the verb."""


class _Descriptor(stdio.DescriptorFile):
    """A file descriptor that keeps its failure instead of raising it.

    Attributes:
        failure: Why it cannot be written; None as long as it can.
        lost: The same, once something was to be written.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self.failure: OSError | None = None
        self.lost: OSError | None = None

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        while self.failure is None:
            try:
                return os.write(self._descriptor, view)
            except BlockingIOError:  # the other user of a terminal made it non-blocking
                with contextlib.suppress(OSError):
                    select.select([], [self._descriptor], [])
            except OSError as error:
                self.failure = error
        self.lost = self.failure
        return len(view)


class _State:
    """What `prepare` made, and whether the verb has an end of its own."""

    def __init__(self) -> None:
        self.descriptor: _Descriptor | None = None
        self.endless = False


_state = _State()


def prepare() -> None:
    """Replace the standard streams of this process; the first thing that a command does."""
    is_closed = sys.stdout is None
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    stdio.open_missing_descriptors()
    sys.stderr = stdio.lenient(2)
    _state.descriptor = _Descriptor(1)
    if is_closed:
        _state.descriptor.failure = OSError(errno.EBADF, "it is closed")
    # Written through: what a verb prints does not wait for the next line.
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_state.descriptor), encoding, errors="backslashreplace", write_through=True
    )
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")
    if shutil.get_terminal_size().columns < _NARROW:
        os.environ["COLUMNS"] = "80"  # which Rich reads


def finish(status: int) -> int:
    """Write what is left, say why output was lost, and return the exit status of a command whose verb ended so."""
    _flush()
    failure = _state.descriptor.lost if _state.descriptor is not None else None
    if failure is None or isinstance(failure, BrokenPipeError):
        return status
    note(f"brainnet: standard output cannot be written: {failure.strerror}")
    return status or 1


@contextlib.contextmanager
def endless() -> Iterator[None]:
    """Within this context a function that prints raises `OutputEnded` when nobody can read it."""
    _state.endless = True
    try:
        yield
    finally:
        _state.endless = False


def line(*parts: Cell) -> None:
    """Print one line to standard output."""
    _write(_rendered(parts) + "\n")


def text(value: str) -> None:
    """Print a text that may have lines, such as an answer, to standard output."""
    _write(printable(value, lines=True) + "\n")


def chunk(value: str) -> None:
    """Print a part of a text to standard output, and end no line."""
    _write(printable(value, lines=True))


def print_json(value: Any) -> None:
    """Print a pydantic model, a map or a list as one line of JSON; NaN and infinities are null, as JSON has none."""
    try:
        if hasattr(value, "model_dump_json"):
            row = value.model_dump_json()
        else:
            row = json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False)
        row.encode()
    except ValueError:  # no finite number, or half of a surrogate pair
        row = json.dumps(_finite(value), default=_plain)
    _write(escape_json(row, only_ascii=not _has_unicode()) + "\n")


def table(columns: Sequence[str | Column], rows: Iterable[Sequence[Cell]], *, titles: bool = True) -> None:
    """Print a table to standard output.

    Args:
        columns: Titles, or columns.
        rows: The cells of each row.
        titles: Print the titles.
    """
    _write(render(table_of(columns, rows, titles=titles)))


def table_of(columns: Sequence[str | Column], rows: Iterable[Sequence[Cell]], *, titles: bool = True) -> RenderableType:
    """Return a table that Rich can print; its cells are text, and never markup."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, show_header=titles)
    for column in columns:
        title, right, whole = Column(column) if isinstance(column, str) else column
        made.add_column(Text(printable(title)), justify="right" if right else "left", no_wrap=whole)
    for row in rows:
        made.add_row(*(Text(printable(t), style=s) for t, s in (_styled(cell) for cell in row)))
    return made


def show(renderable: RenderableType) -> None:
    """Print what `table_of` returned to standard output."""
    _write(render(renderable))


def note(message: str) -> None:
    """Print a line for people to standard error."""
    with contextlib.suppress(Exception):  # a message that nobody sees must not cost the answer that follows it
        sys.stderr.write(printable(shorten(message, _MAX_NOTE)) + "\n")
        sys.stderr.flush()


def note_progress(message: str, *, done: bool = False) -> None:
    """Show a message on the last line of a terminal at standard error, in place of the one before; elsewhere nothing.

    Args:
        message: Empty to remove the one before.
        done: End the line.
    """
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        return
    with contextlib.suppress(Exception):
        sys.stderr.write(f"\r\x1b[K{printable(message)}" + ("\n" if done else ""))
        sys.stderr.flush()


def is_terminal() -> bool:
    """Return whether standard output is a terminal that can move its cursor."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


@contextlib.contextmanager
def working(message: str) -> Iterator[Callable[[str], None]]:
    """Show on a terminal at standard error that work goes on; yields the function that changes the message."""
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True, markup=False).status(Text(printable(message))) as status:
        yield lambda changed: status.update(Text(printable(changed)))


class Screen:
    """A part of a terminal that is drawn again and again; use it as a context manager.

    Args:
        on_stderr: Draw on the terminal at standard error instead of standard output, and remove the part at the end.
    """

    def __init__(self, *, on_stderr: bool = False) -> None:
        from rich.live import Live

        self._console = console(sys.stderr if on_stderr else None)
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop", transient=on_stderr)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        return self._console.width, self._console.height

    def show(self, *parts: Cell | RenderableType) -> None:
        """Draw these parts, one below the other; a text is shown as one line, and cut at the edge."""
        from rich.console import Group
        from rich.text import Text

        drawn: list[RenderableType] = []
        for part in parts:
            if isinstance(part, str | Styled):
                value, style = _styled(part)
                drawn.append(Text(printable(value), style=style, no_wrap=True, overflow="crop"))
            else:
                drawn.append(part)
        self._live.update(Group(*drawn), refresh=True)
        _check_end()

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()


def console(file: Any = None) -> Console:
    """Return a console for what Rich lays out; the texts that it is given are shown without markup and escape codes.

    Args:
        file: Where it prints; standard output by default.
    """
    from rich.console import Console

    class PlainConsole(Console):
        """Shows also the texts that are no `Text` without markup and escape codes."""

        def render_str(self, text: str, **options: Any) -> Any:
            return super().render_str(printable(text), **options)

    is_tty = file.isatty() if file is sys.stderr else sys.stdout.isatty()
    return PlainConsole(
        file=file,
        force_terminal=is_tty,
        width=None if is_tty else WIDE,
        markup=False,
        highlight=False,
        emoji=False,
    )


def render(renderable: RenderableType) -> str:
    """Return what Rich prints for standard output."""
    buffer = io.StringIO()
    console(buffer).print(renderable)
    return buffer.getvalue()


def _has_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "").replace("_", "").startswith("utf")


def _rendered(parts: Sequence[Cell]) -> str:
    cells = [_styled(part) for part in parts]
    if not any(style for _, style in cells) or not sys.stdout.isatty():
        return "".join(printable(value) for value, _ in cells)
    from rich.text import Text

    buffer = io.StringIO()
    console(buffer).print(Text.assemble(*((printable(value), style) for value, style in cells)), soft_wrap=True, end="")
    return buffer.getvalue()


def _styled(cell: Cell) -> Styled:
    return Styled(cell, "") if isinstance(cell, str) else cell


def _write(value: str) -> None:
    sys.stdout.write(value)
    _flush()
    _check_end()


def _flush() -> None:
    with contextlib.suppress(ValueError):  # a stream that was closed by somebody else
        sys.stdout.flush()


def _check_end() -> None:
    if _state.endless and _state.descriptor is not None and _state.descriptor.failure is not None:
        raise OutputEnded


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(name): _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value if value is None or isinstance(value, bool | int | str) else _finite(_plain(value))


@contextlib.contextmanager
def progress(unit: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on standard error, when it is a terminal; yields a function that takes what was done since then.

    Args:
        unit: What is counted.
        total: All that is to be done.
    """
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(unit), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(sys.stderr), transient=True) as bar:
        task = bar.add_task(unit, total=total)
        yield lambda done: bar.advance(task, done)
