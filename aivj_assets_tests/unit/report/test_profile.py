import io

from rich.console import Console

from aivj_assets.contracts.embeddings import ModelCard
from aivj_assets.contracts.profile import LineageProfile, pixels_name
from aivj_assets.contracts.render_parameters import RenderParameters, pixel_parameters
from aivj_assets.report.profile import ProfileRow, print_profile
from aivj_assets_tests.builders import PAGE, embeddings_meta

PIXELS = pixel_parameters(RenderParameters(), PAGE)
OTHERS = pixel_parameters(RenderParameters(warmup_frames=90), PAGE)


def card(model: str) -> ModelCard:
    return embeddings_meta(1, 4, model=model).card


def shown(profile: LineageProfile, rows: list[ProfileRow]) -> str:
    console = Console(file=io.StringIO(), width=300)
    print_profile(console, "main", profile, rows)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def cells(text: str) -> dict[str, list[str]]:
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line]
    return {line[0]: line[1:] for line in lines}


def test_each_batch_is_held_against_what_is_frozen() -> None:
    one, two = "big/batch-0001", "big/batch-0002"
    profile = LineageProfile().with_card(card("old"), one, "").with_card(card("new"), two, "why [not]")
    profile = profile.with_pixels(PIXELS, two, "")
    text = shown(
        profile,
        [
            ProfileRow(one, card("old").name, False, pixels_name(OTHERS), False, None),
            ProfileRow(two, card("new").name, True, pixels_name(PIXELS), True, "'embeddings': it is rejected by [/x."),
            ProfileRow("big/batch-0003", None, False, None, False, "'frames': it is not materialised"),
        ],
    )
    assert f"frozen to {card('new').name} by {two} (" in text
    assert f"frozen to {pixels_name(PIXELS)} by {two} (" in text
    assert "warmupFrames 60" in text
    assert PAGE.renderer in text
    found = cells(text)
    assert found[one] == [card("old").name, "no", pixels_name(OTHERS), "no", "yes"]
    assert found[two] == [card("new").name, "yes", pixels_name(PIXELS), "yes", "no"]
    assert found["big/batch-0003"] == ["-", "-", "-", "-", "no"]
    assert [found[card("old").name][position] for position in (0, 2)] == [one, "why [not]"]
    lines = text.splitlines()
    assert f"{two} is not accepted: 'embeddings': it is rejected by [/x." in lines
    assert "big/batch-0003 is not accepted: 'frames': it is not materialised." in lines
    again = [line for line in lines if f"aivj run {one}" in line]
    assert [("embed it" in line, "render it" in line) for line in again] == [(True, False), (False, True)]
    assert not any(f"aivj run {two}" in line for line in lines)


def test_a_lineage_with_nothing_frozen_says_so() -> None:
    text = shown(LineageProfile(), [ProfileRow("big", card("a").name, False, pixels_name(PIXELS), False, None)])
    assert "no model card frozen yet" in text
    assert "no pixel parameters frozen yet" in text
    assert cells(text)["big"] == [card("a").name, "-", pixels_name(PIXELS), "-", "yes"]
    assert "Earlier" not in text
