"""Files of locks as people bring them: each line is read or named, and takes no other with it."""

import gzip
import io
import json
import tracemalloc
import zipfile
from uuid import UUID

import pytest

from operations.locks.files import BadLine, LockLine, read_lock_lines
from operations.locks.text_lines import MAX_LINE, TextLine, read_text_lines
from runtime.errors import ConfigurationError

UUID_TEXT = "3f1c6c1e-7b43-4f5e-9f0a-0123456789ab"


def read(
    content: bytes | str, name: str = "locks.csv"
) -> tuple[dict[int, LockLine], dict[int, str]]:
    """What each line says, and what is wrong with each bad one, by number."""
    raw = content.encode() if isinstance(content, str) else content
    good, bad = {}, {}
    for line in read_lock_lines(name, read_text_lines(name, io.BytesIO(raw))):
        if isinstance(line, BadLine):
            bad[line.number] = line.problem
        else:
            good[line[0]] = line[1]
    return good, bad


def test_bad_lines_are_named_by_number_and_the_others_read() -> None:
    good, bad = read("id,org,uuid\n1,acme,\nzero,acme,\n2\n3,ac me,\n\n4,acme,x\n5,,\n,acme,\n")
    assert good == {2: LockLine(1, "acme")}
    assert list(bad) == [3, 4, 5, 7, 8, 9]


def test_a_quote_that_is_never_closed_takes_no_other_line_with_it() -> None:
    good, bad = read('id,org,uuid\n1,"acme,\n2,acme,\n3,ac"me,\n"4","acme",""\n"5"x,acme,\n6,a,\n')
    assert {n: line.id for n, line in good.items()} == {3: 2, 5: 4, 7: 6}
    assert list(bad) == [2, 4, 6]
    assert '"' in bad[2]


@pytest.mark.parametrize("before", range(4_090, 4_100))
def test_the_longest_line_is_read_whole_wherever_the_file_is_cut_as_it_is_read(before: int) -> None:
    longest = "x" * MAX_LINE
    content = f"{'f' * before}\n{longest}\nlast".encode()
    texts = [line.text for line in read_text_lines("l.csv", io.BytesIO(content))]
    assert texts == ["f" * before, longest, "last"]


def test_what_is_too_short_to_be_utf_16_is_read_as_it_stands() -> None:
    assert [line.text for line in read_text_lines("l.csv", io.BytesIO(b"7\0\n"))] == ["7\0"]


def test_a_line_loses_its_end_and_nothing_else() -> None:
    lines = read_text_lines("l.csv", io.BytesIO(b"a \t\r\nbX\n\f\r X"))
    assert [(line.number, line.size, line.text) for line in lines] == [
        (1, 5, "a \t"),
        (2, 3, "bX"),
        (3, 2, "\f"),
        (4, 2, " X"),
    ]


@pytest.mark.parametrize("size", [MAX_LINE + 1, 3 * MAX_LINE, 300_000])
@pytest.mark.parametrize("name", ["locks.csv", "locks.ndjson"])
def test_an_endless_line_is_bad_and_reading_goes_on(name: str, size: int) -> None:
    lines = ["id,org", "x" * size, "2,acme"]
    if name.endswith("ndjson"):
        lines = ['{"id":1,"org":"acme"}', "x" * size, '{"id":2,"org":"acme"}']
    for end in ("\n", "\r\n", "\r"):
        good, bad = read(end.join(lines), name)
        assert good[3] == LockLine(2, "acme")
        assert list(bad) == [2]
        assert "longer than" in bad[2]


def test_a_nul_byte_spoils_its_own_line_only() -> None:
    good, bad = read("id,org\n1,ac\0me\n2,acme\n")
    assert (list(good), bad) == ([3], {2: "holds a NUL byte"})


def test_lines_may_end_in_any_way_and_the_last_in_none() -> None:
    for text in ("id,org\n1,a\n2,b", "id,org\r\n1,a\r\n2,b\r\n", "id,org\r1,a\r2,b"):
        assert read(text) == ({2: LockLine(1, "a"), 3: LockLine(2, "b")}, {})
    assert list(read("id,org\r\n1,a\n2,b\r3,c\n\r\n4,d")[0]) == [2, 3, 4, 6]


def test_a_line_end_may_lie_anywhere_between_two_reads() -> None:
    for padding in range(4090, 4100):
        text = "id,org\r\n1," + "a" * padding + "\r\n2,b\r\n3,c"
        assert list(read(text)[0]) == [3, 4]


@pytest.mark.parametrize(
    "number",
    ["1e3", "007", "+7", "-7", "7.0", "٣", "²", "0", "9223372036854775808", "1_000", "0x7", "7;"],
)
def test_a_number_with_two_readings_is_refused(number: str) -> None:
    assert list(read(f"id,org\n{number},acme\n8,acme\n")[1]) == [2]
    assert list(read(json.dumps({"id": number, "org": "acme"}), "l.ndjson")[1]) == [1]
    if number in ("1e3", "-7", "7.0", "0", "9223372036854775808"):
        assert list(read(f'{{"id":{number},"org":"acme"}}', "l.ndjson")[1]) == [1]


def test_the_largest_id_and_blanks_around_values_are_taken() -> None:
    good, _ = read(f" id , org , uuid \n 9223372036854775807 ,\tacme , {UUID_TEXT.upper()} \n")
    assert good == {2: LockLine(2**63 - 1, "acme", UUID(UUID_TEXT))}


def test_blank_lines_between_lines_of_ndjson_end_nothing_and_count() -> None:
    good, bad = read('\n{"id":1,"org":"acme"}\n \n\n{"id":2,"org":"acme"}\n', "locks.ndjson")
    assert (good, bad) == ({2: LockLine(1, "acme"), 5: LockLine(2, "acme")}, {})


def test_ndjson_has_the_same_fields() -> None:
    lines = [
        '{"id":1,"org":"acme","uuid":null}',
        "{",
        '{"id":2,"org":"acme","colour":"red"}',
        "[1]",
        '{"id":3,"org":"acme","org":"other"}',
        '{"id":true,"org":"acme"}',
        "[" * 60_000,
        '{"id":4,"org":"\\ud800"}',
        '{"id":NaN,"org":"acme"}',
        f'{{"id":"5","org":"acme","uuid":"{UUID_TEXT}"}}',
    ]
    good, bad = read("\n".join(lines), "locks.NDJSON")
    assert good == {1: LockLine(1, "acme"), 10: LockLine(5, "acme", UUID(UUID_TEXT))}
    assert list(bad) == list(range(2, 10))
    assert "twice" in bad[5]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf\n\n", "empty"),
        (b"a,b\n", "'a'"),
        (b"7,acme\n", "id,org"),
        (b"id;org\n7;acme\n", "';'"),
        (b"id\torg\n7\tacme\n", "a tab"),
        (b"id,org,id\n", "id twice"),
        (b"id,org,uuid,colour\n", "'colour'"),
        (b"id,uuid\n", "does not name org"),
        (b'id,"org\n7,acme\n', "stray"),
        ("id,org\n7,acme\n".encode("utf-16"), "UTF-16"),
        ("id,org\n7,acme\n".encode("utf-16-le"), "UTF-16"),
        ("id,org\n7,acme\n".encode("utf-16-be"), "UTF-16"),
        (("x" * 32 + "\u0436").encode("utf-16-be"), "UTF-16"),
        ("id,org\n7,acme\n".encode("utf-32"), "UTF-32"),
        (gzip.compress(b"id,org\n7,acme\n", mtime=0), "gzip"),
        (b"id,org\n7,acme\n8,M\xfcller\n", "line 3 holds 0xfc at byte 17 of the file.*1252"),
        (b"\xef\xbb\xbfid,org\n8,\x81\xff\n", "line 2 holds 0x81 at byte 12 of the file"),
    ],
)
def test_a_file_of_another_kind_is_refused_whole(content: bytes, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as refusal:
        read(content)
    assert "\n" not in str(refusal.value)


def test_a_spreadsheet_is_refused_whole() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(ConfigurationError, match="xlsx"):
        read(packed.getvalue())


def test_the_ending_names_the_format() -> None:
    with pytest.raises(ConfigurationError, match=r"\.csv"):
        read("id,org\n", "locks.txt")


def test_a_byte_order_mark_and_an_empty_ndjson_are_fine() -> None:
    assert read(b"\xef\xbb\xbfid,org\n7,acme\n")[0] == {2: LockLine(7, "acme")}
    assert read(b"id,org\n") == ({}, {})
    assert read(b"", "none.ndjson") == ({}, {})


class Endless(io.RawIOBase):
    """Zeros, for as many bytes as are left."""

    def __init__(self, left: int) -> None:
        self._left = left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        count = min(len(buffer), self._left)
        buffer[:count] = b"7" * count
        self._left -= count
        return count


def test_a_file_that_is_one_line_is_not_held_in_memory() -> None:
    tracemalloc.start()
    try:
        (line,) = read_text_lines("huge.ndjson", io.BufferedReader(Endless(50_000_000)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (line.text, line.size) == (None, 50_000_000)
    assert peak < 2_000_000


def test_each_bad_line_of_a_csv_says_what_is_wrong_with_it() -> None:
    long = "x" * 41
    _, bad = read(
        "id,org,uuid\n"
        'zero,acme,\n2\n3,ac me,\n4,acme,x\n5,,\n,acme,\n1,"acme,\n1,a\0b,\n'
        f"{long},acme,\n{'y' * 40},acme,\n1,a\ttb,\n"
    )
    a_lock_id = f"is not a lock id, an integer from 1 to {2**63 - 1} in plain digits"
    assert bad == {
        2: f"id: 'zero' {a_lock_id}",
        3: "has 1 columns instead of 3",
        4: "org: 'ac me' is not an id; use 1 to 64 letters, digits, '.', '_' or '-'",
        5: "uuid: 'x' is not a UUID",
        6: "has no org",
        7: "has no id",
        8: 'has a stray " (unexpected end of data)',
        9: "holds a NUL byte",
        10: f"id: '{'x' * 40}…' {a_lock_id}",
        11: f"id: '{'y' * 40}' {a_lock_id}",
        12: "org: 'a\\\\u0009tb' is not an id; use 1 to 64 letters, digits, '.', '_' or '-'",
    }


def test_each_bad_line_of_ndjson_says_what_is_wrong_with_it() -> None:
    lines = [
        "{",
        '{"id":2,"org":"acme","colour":"red"}',
        "[1]",
        '{"id":3,"org":"acme","org":"other"}',
        "[" * 60_000,
        '{"id":null,"org":"acme"}',
        '{"id":[1],"org":"acme"}',
        '{"id":1,"org":7}',
        '{"id":1,"org":"acme","uuid":true}',
    ]
    _, bad = read("\n".join(lines), "l.jsonl")
    assert bad == {
        1: "is not JSON: Expecting property name enclosed in double quotes: "
        "line 1 column 2 (char 1)",
        2: "there is no field 'colour'",
        3: "is not a JSON object",
        4: "names 'org' twice",
        5: "is nested too deeply",
        6: "has no id",
        7: f"id: '[1]' is not a lock id, an integer from 1 to {2**63 - 1} in plain digits",
        8: "org: '7' is not an id; use 1 to 64 letters, digits, '.', '_' or '-'",
        9: "uuid: 'true' is not a UUID",
    }


def refusal(content: bytes | str, name: str = "locks.csv") -> str:
    with pytest.raises(ConfigurationError) as refused:
        read(content, name)
    return str(refused.value)


def test_a_file_that_is_refused_says_why_and_what_it_should_be() -> None:
    wanted = "locks.csv: the first line must name the columns id,org[,uuid]; "
    separated = "locks.csv: the columns are separated by "
    for content, told in (
        ("", "locks.csv is empty: the first line must name the columns id,org"),
        ('id,"org\n', wanted + 'it has a stray " (unexpected end of data)'),
        ("id;org\n", separated + "';'; separate them by ','"),
        ("id\torg\n", separated + "a tab; separate them by ','"),
        ("id|org\n", separated + "'|'; separate them by ','"),
        ("id,colour\n", wanted + "there is no column 'colour'"),
        ("id,org,id\n", wanted + "it names id twice"),
        ("id,uuid\n", wanted + "it does not name org"),
        ("id\n", wanted + "it does not name org"),
        ("org\n", wanted + "it does not name id"),
    ):
        assert refusal(content) == told
    told = "locks.txt: the file's name must end in .csv, .ndjson or .jsonl"
    assert refusal("id,org\n", "locks.txt") == told
    too_long = refusal("x" * (MAX_LINE + 1))
    assert too_long == wanted + "there is no column ''"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\x1f\x8b...", "is compressed with gzip; unpack it first (its first byte is 0x1f)"),
        (b"%PDF-1.7", "is a PDF; export it as CSV (its first byte is 0x25)"),
        (b"\xff\xfei\0", "is UTF-16 (its first bytes are 0xfffe); save it as UTF-8"),
        (b"\xff\xfe\0\0i\0\0\0", "is UTF-32 (its first bytes are 0xfffe0000); save it as UTF-8"),
        (b"i\0d\0", "is UTF-16 (byte 1 is zero); save it as UTF-8"),
        (b"\0i\0d", "is UTF-16 (byte 0 is zero); save it as UTF-8"),
        (
            b"id,org\n1,M\xfcller\n",
            "is not UTF-8: line 2 holds 0xfc at byte 10 of the file (it may be Windows-1252); "
            "save it as UTF-8",
        ),
        (
            b"\xef\xbb\xbfid,org\n1,\x81\n",
            "is not UTF-8: line 2 holds 0x81 at byte 12 of the file; save it as UTF-8",
        ),
    ],
)
def test_a_file_in_another_form_is_named_by_what_it_is(content: bytes, told: str) -> None:
    assert refusal(content) == f"locks.csv {told}"


def test_a_short_file_with_a_zero_byte_is_not_taken_for_utf_16() -> None:
    assert read(b"id,org\n1,a\0\n") == ({}, {2: "holds a NUL byte"})


def text_lines(content: bytes) -> list[TextLine]:
    return list(read_text_lines("l.csv", io.BytesIO(content)))


def test_lines_are_numbered_and_their_sizes_add_up_to_the_file() -> None:
    mark = b"\xef\xbb\xbf"
    content = b"a\r\nbb\n\r" + b"x" * (MAX_LINE + 1) + b"\n" + b"y" * MAX_LINE + b"\r\nlast"
    lines = text_lines(mark + content)
    assert [(line.number, line.size) for line in lines] == [
        (1, 3),
        (2, 3),
        (3, 1),
        (4, MAX_LINE + 2),
        (5, MAX_LINE + 2),
        (6, 4),
    ]
    assert [line.text for line in lines] == ["a", "bb", "", None, "y" * MAX_LINE, "last"]
    assert sum(line.size for line in lines) == len(content)


class Dribbling(io.RawIOBase):
    """A few bytes at each read, as a pipe may give them."""

    def __init__(self, content: bytes, at_once: int) -> None:
        self._content = io.BytesIO(content)
        self._at_once = at_once

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._content.read(min(size, self._at_once))


@pytest.mark.parametrize("at_once", [1, 2, 3, 7, 4096])
def test_lines_are_the_same_however_the_bytes_arrive(at_once: int) -> None:
    content = b"\xef\xbb\xbfid,org\r\n1,a\r2,b\n\n" + b"z" * 5000 + b"\r\n3,c"
    pieces = list(read_text_lines("l.csv", Dribbling(content, at_once)))  # type: ignore[arg-type]
    assert pieces == text_lines(content)
    assert [line.text for line in pieces] == ["id,org", "1,a", "2,b", "", "z" * 5000, "3,c"]
