import json
import re
from pathlib import Path

import pytest

from aivj_assets.contracts.base import ContractFile, ContractModel, utc_now
from aivj_assets.errors import UserError


class Part(ContractModel):
    file_name: str
    share: float | None = None


class Whole(ContractFile):
    generated_at: str
    parts: list[Part]


def test_time_is_iso_8601_utc_with_milliseconds() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", utc_now())


def test_unknown_fields_survive_a_rewrite_and_names_are_camel_case(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    data = {"generatedAt": "t", "parts": [{"fileName": "a", "later": {"x": [1]}}], "appField": "kept"}
    path.write_text(json.dumps(data), encoding="utf-8")
    loaded = Whole.load(path)
    assert loaded.parts[0].file_name == "a"
    loaded.save(path)
    assert json.loads(path.read_bytes()) == data


def test_python_names_are_accepted_and_empty_fields_left_out() -> None:
    assert Part(file_name="a").to_json() == {"fileName": "a"}


def test_a_byte_order_mark_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b'\xef\xbb\xbf{"generatedAt": "t", "parts": []}')
    assert Whole.load(path).parts == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not JSON"),
        (b'{"generatedAt": "t", "parts": [', "is not JSON"),
        (b"\xff\xfe{}", "is not JSON"),
        (b"[" * 200_000, "is not JSON"),
        (b'{"generatedAt": ' + b"1" * 5000 + b"}", "is not JSON"),
        (b'{"generatedAt": "\\ud83d", "parts": []}', "is not JSON"),
        (b"[]", "is not as agreed"),
        (b'{"parts": []}', "generatedAt: Field required"),
        (b'{"generatedAt": "t", "parts": [{}, {}]}', r"parts\.0\.fileName: Field required \(and 1 more\)"),
        (b'{"generatedAt": "t", "parts": [{"fileName": "a", "share": NaN}]}', r"parts\.0\.share"),
    ],
    ids=["empty", "torn", "not-utf8", "deep", "huge-number", "half-surrogate", "list", "field", "two", "nan"],
)
def test_a_malformed_file_is_one_line_with_its_name(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=says) as raised:
        Whole.load(path)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_whole_surrogate_pair_is_text(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b'{"generatedAt": "\\ud83d\\ude00", "parts": []}')
    assert Whole.load(path).generated_at == "\U0001f600"


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        Whole.load(tmp_path / "x.json")
    with pytest.raises(UserError, match="cannot be read"):
        Whole.load(tmp_path)


def test_nothing_new_leaves_the_file_untouched(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    Whole(generated_at="monday", parts=[Part(file_name="a")]).save_if_changed(path)
    first = path.read_bytes()
    Whole(generated_at="tuesday", parts=[Part(file_name="a")]).save_if_changed(path)
    assert path.read_bytes() == first
    Whole(generated_at="tuesday", parts=[Part(file_name="b")]).save_if_changed(path)
    assert json.loads(path.read_bytes()) == {"generatedAt": "tuesday", "parts": [{"fileName": "b"}]}
    path.write_text("rubbish", encoding="utf-8")
    Whole(generated_at="wednesday", parts=[]).save_if_changed(path)
    assert Whole.load(path).generated_at == "wednesday"
