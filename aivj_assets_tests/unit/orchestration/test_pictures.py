import re

from aivj_assets.orchestration.pictures import counts_table, markdown_table


def cells_of(row: str) -> list[str]:
    """Split a row of a Markdown table as a reader does: a backslash takes the character after it along."""
    parts = re.findall(r"(?:\\.|[^|\\])+", row)
    return [part.strip() for part in parts]


def shown(cell: str) -> str:
    """Return the text that a reader shows for a cell without markup."""
    text = re.sub(r"\\([\\|\[\]<])", r"\1", cell)
    return text.replace("&lt;", "<").replace("&amp;", "&")


def test_counts_are_listed_largest_first() -> None:
    assert counts_table("reason", {"b": 1, "watchdog": 7, "a": 1}) == (
        "| reason | count |\n| --- | --- |\n| watchdog | 7 |\n| a | 1 |\n| b | 1 |"
    )
    assert counts_table("reason", {}) == "none"


def test_no_preset_name_breaks_the_table() -> None:
    names = [
        "a|b",
        "a\\|b",
        "a\\\\|b",
        "end\\",
        "two\nlines",
        "two\r\nlines",
        "\r",
        "<img src=x>",
        "&lt;b>",
        "![x](http://x)",
    ]
    rows = markdown_table(("preset", "count"), [(name, 3) for name in names]).split("\n")
    assert len(rows) == 2 + len(names)
    for name, row in zip(names, rows[2:], strict=True):
        assert "\r" not in row
        cells = cells_of(row)
        assert cells[-1] == "3", name
        assert len(cells) <= 2, name
        if len(cells) == 2:
            assert shown(cells[0]) == name.replace("\r", " ").replace("\n", " ").strip()


def test_untrusted_text_makes_no_markup() -> None:
    table = markdown_table(("preset",), [("<script>x</script>",), ("[a](javascript:x)",), ("\\[a](x)",), ("`code`",)])
    body = table.split("\n", 2)[2]
    assert "<" not in body
    assert "`" not in body
    # Every bracket that would open a link is escaped by an odd number of backslashes.
    assert all(len(run) % 2 == 1 for run in re.findall(r"(\\*)\[", body))


def test_nothing_is_an_empty_cell() -> None:
    assert markdown_table(("a", "b"), [(None, 0)]).endswith("|  | 0 |")
