"""Entries between marks, in a file that a person writes in too."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aivj_assets.errors import UserError
from aivj_assets.report.diary_file import merge_section, merge_todo, read_file, update_file

KEYS = ("big", "big/batch-0001", "big/batch-0002", "other-pack")
WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029"), max_size=12)


def mark(key: str, slash: str = "") -> bytes:
    return f"<!-- {slash}aivj:batch {key} -->".encode()


def section(key: str, *lines: str, end: bytes = b"\n") -> bytes:
    return end.join([mark(key), *(line.encode() for line in lines), mark(key, "/")])


def todo(key: str, line: str) -> bytes:
    return line.encode() + b" " + mark(key)


@st.composite
def own_text(draw: st.DrawFn, end: bytes) -> bytes:
    """Text of a person between two entries: whole lines."""
    lines = draw(st.lists(WORDS | st.just("- [ ] buy milk") | st.just("<!-- a remark -->"), max_size=4))
    return b"".join(line.encode() + end for line in lines)


@given(st.data(), st.sampled_from([b"\n", b"\r\n", b"\r"]), st.permutations(KEYS), st.booleans())
def test_entries_change_in_place_and_own_text_stays_byte_for_byte(
    data: st.DataObject, end: bytes, keys: list[str], bom: bool
) -> None:
    texts = [data.draw(own_text(end)) for _ in range(len(keys) + 1)]
    top = (b"\xef\xbb\xbf" if bom else b"") + texts[0]

    def status(lines: dict[str, str]) -> bytes:
        return top + b"".join(
            section(key, "## x", lines[key], end=end) + end + text for key, text in zip(keys, texts[1:], strict=True)
        )

    def todos(lines: dict[str, str]) -> bytes:
        return top + b"".join(
            todo(key, f"- [ ] {lines[key]}") + end + text for key, text in zip(keys, texts[1:], strict=True)
        )

    old = dict.fromkeys(keys, "old")
    changed = data.draw(st.sampled_from(keys))
    words = data.draw(WORDS)
    assert merge_section(status(old), changed, ["## x", words]) == status({**old, changed: words})
    assert merge_todo(todos(old), changed, f"- [ ] {words}") == todos({**old, changed: words})


@given(st.data(), st.sampled_from([b"\n", b"\r\n"]), st.booleans())
def test_new_entries_are_appended_once_and_what_was_there_is_the_beginning(
    data: st.DataObject, end: bytes, whole: bool
) -> None:
    before = data.draw(own_text(end)) + (b"" if whole else b"no line end")
    status, todos = before, before
    for number in range(2):
        for key in KEYS:
            status = merge_section(status, key, ["## x", f"state number {number}"])
            todos = merge_todo(todos, key, f"- [ ] state number {number}")
    for made in (status, todos):
        assert made.startswith(before)
        assert made.count(b"state number 1") == len(KEYS)
        assert b"state number 0" not in made
        assert made.endswith(end if end in before else b"\n")
        if b"\r\n" in before:
            assert not re.search(rb"(?<!\r)\n", made)
    assert merge_section(status, "big", ["## x", "state number 1"]) == status
    assert merge_todo(todos, "big", "- [ ] state number 1") == todos


def test_a_new_file_says_whose_it_is_and_markdown_shows_entries_apart() -> None:
    made = merge_section(merge_section(b"", "a", ["## a", "- one"]), "b", ["## b"])
    assert made.decode().splitlines() == [
        "# Execution status", "", "What stands between two marks is written by aivj; write around them.", "",
        "<!-- aivj:batch a -->", "## a", "- one", "<!-- /aivj:batch a -->", "",
        "<!-- aivj:batch b -->", "## b", "<!-- /aivj:batch b -->",
    ]  # fmt: skip
    tasks = merge_todo(merge_todo(b"", "a", "- [ ] a: open"), "b", "- [x] b: done")
    assert tasks.decode().splitlines()[-3:] == [
        "", "- [ ] a: open <!-- aivj:batch a -->", "- [x] b: done <!-- aivj:batch b -->",
    ]  # fmt: skip
    # A paragraph must not run into the list.
    assert merge_todo(b"my list", "a", "- [ ] x") == b"my list\n\n- [ ] x " + mark("a") + b"\n"


def test_a_lone_mark_is_text_and_swallows_nothing() -> None:
    before = mark("big") + b"\nkept\n"
    made = merge_section(before, "big", ["one"])
    assert made == before + b"\n" + section("big", "one") + b"\n"
    made += b"kept too\n" + mark("big", "/") + b"\n"
    assert merge_section(made, "big", ["two"]) == made.replace(b"one", b"two")


def test_an_entry_that_was_copied_goes_and_its_surroundings_stay() -> None:
    twice = b"a\n" + section("big", "one") + b"\nb\n" + section("big", "two") + b"\nc\n"
    assert merge_section(twice, "big", ["new"]) == b"a\n" + section("big", "new") + b"\nb\nc\n"
    tasks = todo("big", "- [ ] one") + b"\nmine\n" + todo("big", "- [ ] two") + b"\nmine too\n"
    assert merge_todo(tasks, "big", "- [x] new") == todo("big", "- [x] new") + b"\nmine\nmine too\n"


def test_a_task_keeps_its_place_its_indent_and_what_follows_its_mark() -> None:
    before = b"\t- [x] old " + mark("big") + b" ask Anna\n"
    assert merge_todo(before, "big", "- [ ] new") == b"\t- [ ] new " + mark("big") + b" ask Anna\n"
    quoted = b"see " + mark("big") + b"\n"
    assert merge_todo(quoted, "big", "- [ ] new").startswith(quoted)


def test_a_pack_is_not_taken_for_one_of_its_batches() -> None:
    status = merge_section(merge_section(b"", "big", ["whole"]), "big/batch-0001", ["part"])
    changed = merge_section(status, "big", ["other"])
    assert b"part" in changed
    assert b"whole" not in changed


def test_text_that_is_not_utf8_is_kept_and_utf16_is_refused(tmp_path: Path) -> None:
    latin = "d\u00e9j\u00e0 vu\n".encode("latin-1")
    assert merge_section(latin, "big", ["\u00e9"]).startswith(latin)
    path = tmp_path / "notes.md"
    path.write_bytes("notes".encode("utf-16"))
    with pytest.raises(UserError, match="save it as UTF-8") as raised:
        read_file(path)
    assert "\n" not in str(raised.value)


def test_a_file_that_says_the_same_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "notes.md"
    assert read_file(path) is None
    assert update_file(path, None, b"x\n") is True
    before = path.stat().st_mtime_ns
    assert update_file(path, read_file(path), b"x\n") is False
    assert path.stat().st_mtime_ns == before


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "notes.md"
    path.mkdir()
    with pytest.raises(UserError, match=r"notes\.md cannot be read") as raised:
        read_file(path)
    assert "\n" not in str(raised.value)
    with pytest.raises(UserError, match=r"notes\.md cannot be written"):
        update_file(path, None, b"x")
