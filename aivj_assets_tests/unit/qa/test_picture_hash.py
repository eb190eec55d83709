from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from aivj_assets.contracts.frames_index import FLAT_MAX_STD
from aivj_assets.qa.picture_hash import NEVER, PresetHashes, phash, read_capture
from aivj_assets_tests.picture_builders import cropped, drawn, re_encoded, scaled, stored, tinted

SEEDS = range(1, 9)


def bits(one: Image.Image, other: Image.Image) -> int:
    small = [np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS)) for image in (one, other)]
    return int(np.bitwise_count(np.bitwise_xor(*phash(np.stack(small)))))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_picture_keeps_its_hash_through_what_re_saving_and_drawing_anew_do_to_it(seed: int) -> None:
    picture = drawn(seed)
    for changed in (
        re_encoded(picture, "WEBP", 80),
        re_encoded(picture, "JPEG", 60),
        scaled(picture, 180),
        cropped(picture, 2),
        tinted(picture, 1, 0.9, 0.75),
        tinted(picture, 0.8, 0.8, 0.8),
    ):
        assert bits(picture, changed) <= 4


@pytest.mark.parametrize("seed", SEEDS)
def test_the_mirror_image_another_preset_and_another_moment_have_other_hashes(seed: int) -> None:
    picture = drawn(seed)
    assert bits(picture, ImageOps.mirror(picture)) > 20
    assert bits(picture, drawn(seed + 20)) > 20
    assert bits(picture, drawn(seed, phase=1)) > 12


def test_the_bits_are_those_of_imagehash() -> None:
    """Made with ImageHash 4.3.2, `imagehash.phash`."""
    known = {1: 0xB84B5ACC05B55DB1, 2: 0x9607A2C16FC14BF6, 3: 0xFA0982D39CDB1AA5}
    small = [np.asarray(drawn(seed).convert("L").resize((32, 32), Image.Resampling.LANCZOS)) for seed in known]
    # The transforms of two libraries may round a frequency that lies on the median to either side.
    assert np.bitwise_count(phash(np.stack(small)) ^ np.array(list(known.values()), dtype=np.uint64)).max() <= 2


def test_a_capture_is_read_as_rendering_measures_it(tmp_path: Path) -> None:
    path = tmp_path / "frame.png"
    Image.fromarray(np.full((20, 30, 3), (255, 0, 0), dtype=np.uint8)).save(path)
    capture = read_capture(path)
    assert capture is not None
    assert capture.mean == pytest.approx(0.2126)
    assert capture.std == pytest.approx(0, abs=1e-9)


def test_what_is_no_picture_gives_nothing(tmp_path: Path) -> None:
    broken = stored(drawn(1), tmp_path / "broken.webp")
    broken.write_bytes(broken.read_bytes()[:300])
    text = tmp_path / "text.webp"
    text.write_text("<svg/>", encoding="utf-8")
    assert [read_capture(path) for path in (broken, text, tmp_path / "missing.webp", tmp_path)] == [None] * 4


def preset(folder: Path, *captures: Image.Image) -> list[Path]:
    return [stored(image, folder / f"frame-{number:03d}.webp") for number, image in enumerate(captures)]


def test_most_captures_of_a_preset_decide_each_against_that_of_its_moment(tmp_path: Path) -> None:
    moments = [drawn(1), drawn(2), drawn(3)]
    hashes = PresetHashes(
        [
            preset(tmp_path / "a", *moments),
            preset(tmp_path / "b", drawn(9), *moments[1:]),
            preset(tmp_path / "c", drawn(9), drawn(10), moments[2]),
            preset(tmp_path / "d", *moments[::-1][:1], *moments[:2]),
        ]
    )
    distances = hashes.distances(np.array([0, 0, 0, 0]), hashes, np.array([0, 1, 2, 3]))
    assert distances[:2].max() <= 2
    assert distances[2:].min() > 20


def test_a_capture_of_one_colour_tells_nothing_and_a_preset_of_such_is_near_nothing(tmp_path: Path) -> None:
    gray = Image.new("RGB", (224, 224), (40, 40, 40))
    noise = np.random.default_rng(1).integers(-3, 4, (224, 224, 1))
    nearly = Image.fromarray((np.asarray(gray) + noise).astype(np.uint8))
    assert np.asarray(nearly).std() / 255 < FLAT_MAX_STD
    hashes = PresetHashes(
        [
            preset(tmp_path / "a", gray, drawn(2), drawn(3)),
            preset(tmp_path / "b", nearly, drawn(2), drawn(3)),
            preset(tmp_path / "c", nearly, gray, nearly),
            preset(tmp_path / "d", nearly, gray, nearly),
        ]
    )
    assert hashes.distances(np.array([0, 2, 0]), hashes, np.array([1, 3, 2])).tolist() == [0, NEVER, NEVER]
    assert hashes.distances(np.array([], dtype=np.int64), hashes, np.array([], dtype=np.int64)).tolist() == []
