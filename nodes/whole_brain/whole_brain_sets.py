"""Reads the sets that measure a whole brain: worlds that are told and asked, regions of a user's own, conversation.

Each set has two halves, for choosing (`validation`) and for reporting (`test`). They share no text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from brainnet import yaml_text
from brainnet.errors import TextError, TrainingError
from brainnet.wire.messages import explain

Part = Literal["validation", "test"]
Kind = Literal[
    "same_words", "other_words", "yes_no", "follow_up", "two_at_once", "corrected", "forgotten", "unanswerable"
]
ANSWERABLE: tuple[Kind, ...] = ("same_words", "other_words", "yes_no", "follow_up", "two_at_once", "corrected")
"""Kinds of questions that the world answers; a question of kind `yes_no` may be `unknown` all the same."""
TalkKind = Literal["greeting", "thanks", "identity", "ability", "regions", "state", "cannot", "farewell"]

_HERE = Path(__file__).parent
Read = TypeVar("Read", bound="_Strict")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Step(_Strict):
    """One prompt of a world: a text that tells something, or a question with what its answer must hold.

    Attributes:
        say: A statement, a correction or a request to forget.
        fact: How many facts `say` tells.
        ask: A question.
        kind: Kind of the question.
        expect: One of these must be in the answer; for `yes_no`, be its first word. Empty: it must be refused.
        also: One of these must be in the answer too, for `two_at_once`.
        excluded: None of these may be in the answer, written `not`.
        unknown: A question of kind `yes_no` that the world does not answer: it must be refused.
        hard: An unanswerable question with the right relation of another thing, or another relation of the right
            thing.
        session: `same` continues the session of the prompt before; `new` begins one.
    """

    say: str = ""
    fact: int = Field(0, ge=0)
    ask: str = ""
    kind: Kind = "same_words"
    expect: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    excluded: tuple[str, ...] = Field((), alias="not")
    unknown: bool = False
    hard: bool = False
    session: Literal["same", "new"] = "new"

    @model_validator(mode="after")
    def _is_whole(self) -> Step:
        if bool(self.say) == bool(self.ask):
            raise ValueError("a step has either `say` or `ask`")
        if self.ask and self.answerable != bool(self.expect):
            raise ValueError(f"{self.ask!r}: an answerable question, and no other, has `expect`")
        if self.kind == "forgotten" and not self.excluded:
            raise ValueError(f"{self.ask!r}: a forgotten value stands in `not`")
        return self

    @property
    def answerable(self) -> bool:
        """Whether the world answers this question."""
        return bool(self.ask) and self.kind in ANSWERABLE and not self.unknown


class World(_Strict):
    """A small world, which is told to a brain with an empty memory, and asked.

    Attributes:
        id: Its name.
        language: ISO 639-1 code of the language in which it is told.
        steps: The prompts, in order.
    """

    id: str
    language: str
    steps: tuple[Step, ...]


class OwnRegion(_Strict):
    """A region of a user's own, and prompts that it should be asked.

    Attributes:
        id: Its node.
        program: The class, in `whole_brain_regions_{part}.py`.
        prompts: What people ask it.
    """

    id: str
    program: str
    prompts: tuple[str, ...]


class Talk(_Strict):
    """A prompt of conversation, or about the brain itself.

    Attributes:
        ask: The prompt.
        kind: What it is.
        holds: One of these must be in the answer; empty for any text.
        excluded: None of these may be in the answer, written `not`.
    """

    ask: str
    kind: TalkKind
    holds: tuple[str, ...] = ()
    excluded: tuple[str, ...] = Field((), alias="not")


class _Worlds(_Strict):
    worlds: tuple[World, ...]


class _Regions(_Strict):
    regions: tuple[OwnRegion, ...]


class _Talks(_Strict):
    talks: tuple[Talk, ...]


def worlds(part: Part) -> tuple[World, ...]:
    """Read the worlds of one half.

    Raises:
        TrainingError: The file cannot be read.
    """
    return _read(_Worlds, f"whole_brain_worlds_{part}.yaml").worlds


def own_regions(part: Part) -> tuple[OwnRegion, ...]:
    """Read the prompts for regions of a user's own of one half.

    Raises:
        TrainingError: The file cannot be read.
    """
    return _read(_Regions, f"whole_brain_regions_{part}.yaml").regions


def conversation(part: Part) -> tuple[Talk, ...]:
    """Read the prompts of conversation of one half.

    Raises:
        TrainingError: The file cannot be read.
    """
    return _read(_Talks, f"whole_brain_conversation_{part}.yaml").talks


def regions_program(part: Part) -> Path:
    """Return the file with the programs of the regions of one half."""
    return _HERE / f"whole_brain_regions_{part}.py"


def _read(form: type[Read], name: str) -> Read:
    path = _HERE / name
    try:
        return form.model_validate(yaml_text.read(path).value)
    except (FileNotFoundError, TextError) as error:
        raise TrainingError(f"{path} cannot be read: {error}") from None
    except ValidationError as error:
        raise TrainingError(f"{path}: {explain(error)}") from None
