"""Text that people type: what is a number, what is text, what is refused and where."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from brainnet import yaml_text
from brainnet.errors import TextError
from brainnet.texts import printable


def value_of(text: str | bytes, **options: Any) -> Any:
    return yaml_text.parse(text, "it", **options).value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        (".5", 0.5),
        ("1.", 1.0),
        ("-3", -3),
        ("+3", 3),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("# nothing", None),
        ("yes", "yes"),
        ("off", "off"),
        ("2026-11-28", "2026-11-28"),
        ("2026-11-28T10:00:00Z", "2026-11-28T10:00:00Z"),
        ("12:30:45", "12:30:45"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("'1e-4'", "1e-4"),
        ("!!str 1e-4", "1e-4"),
        ("!!float 5", 5.0),
        ("{gain: 1e-4, on: yes}", {"gain": 1e-4, "on": "yes"}),
        ("1: one\n2: two", {"1": "one", "2": "two"}),
        ('{"a":\t[1,\t2]}', {"a": [1, 2]}),
        ('{"a": "one\ttwo"}', {"a": "one\ttwo"}),
        (r'{"a": "\ud83d\ude00"}', {"a": "\U0001f600"}),
        ("\ufeffa: 1", {"a": 1}),
        ("a: 1\r\nb: 2\r\n", {"a": 1, "b": 2}),
        (b"\xef\xbb\xbfa: \xc3\xa9", {"a": "é"}),
    ],
)
def test_what_a_text_means(text: str | bytes, value: Any) -> None:
    found = value_of(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("base: &b {x: 1, y: 1}\nmine: {<<: *b, y: 2}", {"x": 1, "y": 2}),
        ("base: &b {x: 1, y: 1}\nmine: {y: 2, <<: *b}", {"x": 1, "y": 2}),
        ("one: &a {x: 1}\ntwo: &b {x: 2, y: 2}\nmine: {<<: [*a, *b], z: 3}", {"x": 1, "y": 2, "z": 3}),
        ("mine: {<<: {x: 1}}", {"x": 1}),
        ("a: &a {x: 1}\nb: &b {<<: *a, y: 2}\nmine: {<<: *b}", {"x": 1, "y": 2}),
        ("mine: {'<<': 1}", {"<<": 1}),
    ],
)
def test_merge_keys(text: str, value: Any) -> None:
    assert value_of(text)["mine"] == value


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ("a: 1\na: 2", 2, 1, "a is given twice, first on line 1"),
        ('{"a": 1,\n "a": 2}', 2, 2, "a is given twice, first on line 1"),
        ("1: a\n'1': b", 2, 1, "1 is given twice"),
        ("a: &a {x: 1}\nb:\n  <<: *a\n  <<: *a", 4, 3, "<<: [*a, *b]"),
        ("a: &a {x: 1}\nb: {<<: *a, x: 2, x: 3}", 2, 19, "x is given twice"),
        ("<<: 3", 1, 5, "merges a map"),
        ("a: .nan", 1, 4, "not a finite number"),
        ("a: -.inf", 1, 4, "not a finite number"),
        ("[1,\n\t1e999]", 2, 2, "not a finite number"),
        ("[1, NaN]", 1, 5, "not a finite number"),
        ("a: " + "9" * 101, 1, 4, "more than 100 digits"),
        ("[" + "9" * 101 + "]", 1, 2, "more than 100 digits"),
        ("9" * 5000, 1, 1, "more than 100 digits"),
        ("0x" + "f" * 5000, 1, 1, "more than 100 digits"),
        (r'{"a": "\ud83d"}', 1, 2, "surrogate"),
        ("a: &a [1, *a]", 1, 11, "inside what it names"),
        ("a: *b", 1, 4, "no anchor &b"),
        ("---\na: 1\n---\nb: 2", 3, 1, "second document"),
        ("a: !!set {x}", 1, 4, "the tag !!set is not known"),
        ("a: !!python/object/apply:os.system [x]", 1, 4, "is not known"),
        ("a: !!timestamp 2026-11-28", 1, 4, "is not known"),
        ("a: !!binary aGk=", 1, 4, "bytes, which cannot stand here"),
        ("a: !!int x", 1, 4, "'x' is no int"),
        ("? [a]\n: b", 1, 3, "a key is text"),
        ("a: [1, }", 1, 8, "neither YAML nor JSON"),
        ("a: @x", 1, 4, "neither YAML nor JSON"),
        ("a: \x01", 1, 4, "U+0001"),
        ("[" * 100_000, 1, 66, "inside one another"),
        ("a: é".encode("latin-1"), 1, 4, "iconv -f LATIN1"),
        ("a: \udce9", 1, 4, "use UTF-8"),
    ],
)
def test_a_mistake_has_a_place(text: str | bytes, line: int, column: int, says: str) -> None:
    with pytest.raises(TextError) as caught:
        value_of(text)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert says in caught.value.problem
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"it, line {line}, column {column}: ")


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_another_encoding_is_named_with_its_remedy(codec: str) -> None:
    with pytest.raises(TextError, match="iconv"):
        value_of("a: 1".encode(codec))


def test_aliases_that_stand_for_too_much_are_refused_in_no_time() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    with pytest.raises(TextError, match="counting what aliases stand for"):
        value_of("\n".join(lines))
    long_text = f"a: &a {'x' * 1_000_000}\nb: &b [{', '.join(['*a'] * 100)}]\nc: [{', '.join(['*b'] * 100)}]"
    with pytest.raises(TextError, match="counting what aliases stand for"):
        value_of(long_text)
    deep = "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 80))])
    with pytest.raises(TextError, match="inside one another"):
        value_of(deep)


def test_bytes_where_they_are_sent_as_bytes() -> None:
    assert value_of("{image: !!binary aGk=}", allow_bytes=True) == {"image": b"hi"}
    with pytest.raises(TextError, match="base64"):
        value_of("!!binary '?'", allow_bytes=True)


def test_positions_are_those_of_the_text(tmp_path: Path) -> None:
    for text in ("nodes:\n  - id: a\n    port: 1\n", '{"nodes":\n [{"id": "a",\n    "port": 1}]}'):
        document = yaml_text.parse(text, "it")
        assert document.position(("nodes", 0, "port")) == (3, 5)
        assert document.position(("nodes", 0, "nowhere")) == document.position(("nodes", 0))
        error = document.error(("nodes", 0, "port"), "is taken")
        assert str(error) == "it, line 3, column 5: nodes[0].port: is taken"


class TestFiles:
    def test_one_sentence_for_what_cannot_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(TextError, match="is a folder"):
            yaml_text.read(tmp_path)
        with pytest.raises(FileNotFoundError):
            yaml_text.read(tmp_path / "nowhere.yaml")
        (tmp_path / "file").touch()
        with pytest.raises(TextError, match="cannot be read: Not a directory"):
            yaml_text.read(tmp_path / "file" / "inside")
        with pytest.raises(TextError, match="cannot be read"):
            yaml_text.read(Path("nul\0"))

    def test_a_device_that_never_ends(self) -> None:
        with pytest.raises(TextError, match="more than"):
            yaml_text.read(Path("/dev/zero"))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)
@given(json_values, st.sampled_from([None, 2, "\t"]), st.booleans())
def test_json_is_read_as_json(value: Any, indent: int | str | None, ascii_only: bool) -> None:
    assert value_of(json.dumps(value, indent=indent, ensure_ascii=ascii_only)) == value


@settings(deadline=None)
@given(json_values)
def test_what_yaml_libraries_write_is_read_again(value: Any) -> None:
    assert value_of(yaml.safe_dump(value)) == value


PIECES = ["a", "b: ", "- ", "\n", "  ", "&a ", "*a", "<<: ", "[", "]", "{", "}", ", ", ": ", '"', "'", "!!set ", "!x "]
PIECES += [
    "%",
    "|\n",
    "1e-4",
    ".nan",
    "2026-11-28",
    "\t",
    "#",
    "---\n",
    "...",
    "? ",
    "\\ud83d",
    "\\n",
    "é",
    "\x00",
    "\x85",
]


@settings(deadline=None)
@given(st.binary() | st.lists(st.sampled_from(PIECES)).map("".join) | st.text())
def test_no_text_ends_in_a_traceback(text: str | bytes) -> None:
    refusal = ""
    try:
        value = value_of(text)
    except TextError as error:
        refusal = str(error)
    else:
        assert json.loads(json.dumps(value, allow_nan=False)) == value
    assert refusal == printable(refusal)


@pytest.mark.parametrize("text", ['{"a\\nb": 1, "a\\nb": 2}', '"a\\nb": 1\n"a\\nb": 2', "!\x7f x", "a: *" + "x" * 5000])
def test_an_error_is_one_short_line(text: str) -> None:
    with pytest.raises(TextError) as caught:
        value_of(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


@settings(deadline=None)
@given(st.dates() | st.datetimes())
def test_dates_stay_text(value: datetime.date) -> None:
    assert value_of(f"a: {value.isoformat()}") == {"a": value.isoformat()}
