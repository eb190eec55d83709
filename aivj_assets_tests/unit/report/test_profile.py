import io

from rich.console import Console

from aivj_assets.contracts.embeddings import ModelCard
from aivj_assets.contracts.profile import PackProfile
from aivj_assets.report.profile import print_profile
from aivj_assets_tests.builders import embeddings_meta


def card(model: str) -> ModelCard:
    return embeddings_meta(1, 4, model=model).card


def shown(profile: PackProfile, rows: list[tuple[str, ModelCard | None, str | None]]) -> str:
    console = Console(file=io.StringIO(), width=220)
    print_profile(console, "big", profile, rows)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def cells(text: str) -> dict[str, list[str]]:
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line]
    return {line[0]: line[1:] for line in lines}


def test_each_batch_is_held_against_the_frozen_card() -> None:
    profile = (
        PackProfile().with_card(card("old"), "big/batch-0001", "").with_card(card("new"), "big/batch-0002", "why [not]")
    )
    text = shown(
        profile,
        [
            ("big/batch-0001", card("old"), None),
            ("big/batch-0002", card("new"), "'embeddings': it is rejected by [/x."),
            ("big/batch-0003", None, "'frames': it is not materialised"),
        ],
    )
    assert text.startswith(f"Pack big: frozen to {card('new').name} by big/batch-0002 (")
    found = cells(text)
    assert found["big/batch-0001"] == [card("old").name, "no", "yes"]
    assert found["big/batch-0002"] == [card("new").name, "yes", "no"]
    assert found["big/batch-0003"] == ["-", "-", "no"]
    assert [found[card("old").name][position] for position in (0, 2)] == ["big/batch-0001", "why [not]"]
    assert text.splitlines()[-2:] == [
        "big/batch-0002 is not accepted: 'embeddings': it is rejected by [/x.",
        "big/batch-0003 is not accepted: 'frames': it is not materialised.",
    ]


def test_a_pack_with_nothing_frozen_says_so() -> None:
    text = shown(PackProfile(), [("big", card("a"), None)])
    assert "no card is frozen yet" in text
    assert cells(text)["big"] == [card("a").name, "-", "yes"]
    assert "Earlier" not in text
