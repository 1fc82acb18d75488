"""Documents become passages of a few sentences, each with its place, in every format and script."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainnet.documents import Document, DocumentFile, find_documents, passages_of, read_document, sentence_ends
from brainnet.errors import DocumentError


def written(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def parts(text: str) -> list[str]:
    return [passage.text for passage in passages_of(Document("t", [text], False, "d"))]


def sentences(text: str) -> list[str]:
    ends = sentence_ends(text)
    return [text[begin:end].strip() for begin, end in zip([0, *ends], ends, strict=False)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("Dr. Lee met J. Smith. They ate, e.g. Soup.", ["Dr. Lee met J. Smith.", "They ate, e.g. Soup."]),
        ("It costs 3.50 today. It is 3. 5 are left.", ["It costs 3.50 today.", "It is 3.", "5 are left."]),
        ("He said “Stop.” She left. (So he did.) End", ["He said “Stop.”", "She left.", "(So he did.)", "End"]),
        ("鍵は引き出しにあります。車は赤い！本当？はい", ["鍵は引き出しにあります。", "車は赤い！", "本当？", "はい"]),
        ("चाबी दराज में है। गाड़ी लाल है।", ["चाबी दराज में है।", "गाड़ी लाल है।"]),
        ("أين المفتاح؟ في الدرج.", ["أين المفتاح؟", "في الدرج."]),
        ("Das ist z.B. Öl. Ärger gibt es nicht.", ["Das ist z.B. Öl.", "Ärger gibt es nicht."]),
        ("", [""]),
    ],
)
def test_finds_the_ends_of_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def numbered(count: int, first: int = 1) -> str:
    return " ".join(f"This is number {n}." for n in range(first, first + count))


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([3], [3]),
        ([5], [5]),
        ([6], [3, 3]),
        ([11], [3, 4, 4]),
        ([1, 1, 1, 1], [3, 1]),
        ([1, 4], [5]),
        ([2, 4], [2, 4]),
        ([4, 4], [4, 4]),
    ],
)
def test_a_passage_has_three_to_five_sentences(counts: list[int], expected: list[int]) -> None:
    paragraphs, first = [], 1
    for count in counts:
        paragraphs.append(numbered(count, first))
        first += count
    assert [part.count("This is") for part in parts("\n\n".join(paragraphs))] == expected


def test_a_passage_knows_its_place() -> None:
    first, second = numbered(4), "  " + numbered(4, 5)
    document = Document("t", [f"{first}\n\n{second}", "Last  page\nof all."], True, "d")
    found = passages_of(document)
    assert [(passage.page, passage.offset) for passage in found] == [(1, 0), (1, len(first) + 4), (2, 0)]
    assert [passage.text for passage in found] == [first, second.strip(), "Last page of all."]
    assert passages_of(Document("t", ["Only this."], False, "d"))[0].page == 0


def test_text_without_full_stops_is_cut() -> None:
    words = " ".join(random.Random(1).choices(["nail", "screw", "hammer"], k=3000))
    found = parts(words)
    assert " ".join(found) == words
    assert max(map(len, found)) <= 3000
    assert "".join(parts("x" * 10_000)) == "x" * 10_000


@given(st.text(alphabet='aB .!?\n。"(\t1', max_size=400))
def test_nothing_of_a_text_is_lost(text: str) -> None:
    joined = "".join("".join(parts(text)).split())
    assert joined == "".join(text.split())
    assert all(passage == " ".join(passage.split()) for passage in parts(text))


def test_reads_text(tmp_path: Path) -> None:
    document = read_document(written(tmp_path / "A note.txt", "\ufeffOne.\r\nTwo."))
    assert (document.title, document.pages, document.paged) == ("A note", ["One.\nTwo."], False)
    assert read_document(written(tmp_path / "b.TXT", "Öl".encode("utf-16"))).pages == ["Öl"]


def test_reads_markdown(tmp_path: Path) -> None:
    text = (
        "---\ntags: [x]\n---\n# The *pump*\n\nIt needs **oil** and [air](http://x.y).\n\n- one\n- two\n\n"
        "| a | b |\n|---|---|\n| c | d |\n\n```\nrun x\n```\n"
    )
    document = read_document(written(tmp_path / "pump.md", text))
    assert document.title == "The pump"
    assert " ".join(document.pages[0].split()) == "The pump It needs oil and air. one two a b c d run x"


def test_reads_what_a_person_reads_of_html(tmp_path: Path) -> None:
    text = (
        "<!doctype html><html><head><title>The  pump</title><style>p {}</style></head><body><nav>Home</nav>"
        "<script>let a = '<p>no</p>';</script><p>It needs\n\n<b>oil</b> &amp; air.<p>Now.<br>Then."
        "<pre>a\n\nb</pre></body>"
    )
    document = read_document(written(tmp_path / "pump.html", text))
    assert document.title == "The pump"
    assert [part.strip() for part in document.pages[0].split("\n\n") if part.strip()] == [
        "It needs oil & air.",
        "Now.\nThen.",
        "a",
        "b",
    ]
    assert read_document(written(tmp_path / "x.htm", "<h1>Valves</h1>Blue")).title == "Valves"


def pdf(*pages: str, title: str = "") -> bytes:
    """Write a PDF file with a line of text for each line of a page."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>"]
    numbers = [4 + 2 * n for n in range(len(pages))]
    kids = " ".join(f"{n} 0 R" for n in numbers)
    objects.append(f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode())
    objects.append(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    for number, page in zip(numbers, pages, strict=True):
        lines = "".join(f"({line}) Tj 0 -14 Td " for line in page.splitlines())
        stream = f"BT /F1 12 Tf 50 700 Td {lines} ET".encode()
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >>"
            f" /Contents {number + 1} 0 R >>".encode()
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
    objects.append(f"<< /Title ({title}) >>".encode())
    out, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    return (
        out
        + b"xref\n0 %d\n0000000000 65535 f \n%strailer << /Size %d /Root 1 0 R /Info %d 0 R >>\nstartxref\n%d\n%%%%EOF"
        % (
            size,
            table,
            size,
            size - 1,
            len(out),
        )
    )


def test_reads_pdf_page_by_page(tmp_path: Path) -> None:
    document = read_document(
        written(tmp_path / "pump.pdf", pdf("The pump needs lubri-\ncation. Often.", "Use oil.", title="Pumps"))
    )
    assert (document.title, document.paged) == ("Pumps", True)
    found = passages_of(document)
    assert [(passage.text, passage.page) for passage in found] == [
        ("The pump needs lubrication. Often.", 1),
        ("Use oil.", 2),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"\xff\x00\x80", "is not UTF-8"),
        ("a.txt", b"a\0b", "is not text"),
        ("a.txt", b" \n ", "has no text"),
        ("a.html", b"<script>x</script>", "has no text"),
        ("a.pdf", b"no pdf", "cannot be read as PDF"),
        ("a.pdf", pdf("The pump")[:300], "a.pdf"),
        ("a.pdf", pdf(""), "has no text; a scanned document"),
        ("a.docx", b"x", "is none of"),
    ],
)
def test_says_what_cannot_be_read(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(DocumentError, match=message) as raised:
        read_document(written(tmp_path / name, content))
    assert str(tmp_path) in str(raised.value)
    assert raised.value.code == "document"


@given(st.binary(max_size=300), st.sampled_from(["txt", "md", "html", "pdf"]))
def test_any_bytes_are_a_document_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, end: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any.{end}"
    for each in (content, b"%PDF-1.4\n" + content, b"<!" + content):
        path.write_bytes(each)
        with contextlib.suppress(DocumentError):
            passages_of(read_document(path))


def test_finds_the_documents_of_folders(tmp_path: Path) -> None:
    for name in ("b.txt", "a/x.md", "a/.hidden.md", ".git/y.txt", "picture.png", "c.PDF"):
        written(tmp_path / "top" / name, "x")
    found = [file.source for file in find_documents([tmp_path / "top", tmp_path / "top" / "b.txt"])]
    assert found == ["top/b.txt", "top/c.PDF", "top/a/x.md", "b.txt"]
    assert find_documents([]) == []
    assert find_documents([tmp_path / "top" / "b.txt"] * 2) == [DocumentFile(tmp_path / "top/b.txt", "b.txt")]
    written(tmp_path / "b.txt", "y")
    with pytest.raises(DocumentError, match="would both be called"):
        find_documents([tmp_path / "b.txt", tmp_path / "top/b.txt"])
    with pytest.raises(DocumentError, match="no such file"):
        find_documents([tmp_path / "none"])
    with pytest.raises(DocumentError, match="is none of"):
        find_documents([tmp_path / "top/picture.png"])
