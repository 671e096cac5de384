"""Transcripts of the speech recipe: the game's scripts, recordings, levels, characters."""

from pathlib import Path

import pytest

from irnn_tvm.errors import InputError
from irnn_tvm.examples.speech import corpus
from irnn_tvm.examples.speech.dialogs import Clip, parse_dialogs, read_manifest
from irnn_tvm.examples.speech.text import ALPHABET, CLASSES, decode, encode, is_spelled_out, normalize

SCRIPT = r"""
-- dialogId("commented", "font_small", "out")
--[[ dialogId("block", "font_small", "comment")
dialogStr("of several lines") ]]
dialogId("let-m-divna", "font_small", "What kind of \"ship\" is that? -- no comment")
dialogStr("Wat is dit voor raar schip? -- geen commentaar")

dialogId('single', 'font_big', "It's")
dialogStr('\'t Is') -- a comment after a call
function dialogStr(text) return text end
dialogId("joined", "font_big", "one " .. "two")
dialogStr("een " ..
          "twee\nregels")
dialogId("again", "font_big", "x") dialogStr([[lang
e tekst]])
dialogStr("de laatste telt")
other("dialogId")
"""


def test_dialog_calls_are_read_and_nothing_else() -> None:
    assert parse_dialogs(SCRIPT) == {
        "let-m-divna": "Wat is dit voor raar schip? -- geen commentaar",
        "single": "'t Is",
        "joined": "een twee\nregels",
        "again": "de laatste telt",
    }


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ('\n\ndialogStr("no name")', r"nl\.lua:3: dialogStr follows no dialogId"),
        ('dialogId(name, "font", "text")', r"nl\.lua:1: dialogId has arguments that are not strings"),
        ('dialogId("a", "b", "c")\ndialogStr()', r"nl\.lua:2: dialogStr has arguments"),
        ('dialogId("a", "b"', r"nl\.lua:1: dialogId has arguments"),
    ],
)
def test_scripts_that_are_not_understood_are_refused(source: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_dialogs(source, "nl.lua")


def write_game(root: Path) -> None:
    """Two levels and shared jokes with empty recordings: manifests depend on names alone."""
    recordings = (
        *("reef/nl/a", "reef/nl/digits", "reef/nl/unknown", "reef/cs/a", "reef/en/a", "cave/nl/help"),
        *("cave/nl/empty", "share/jokes/nl/joke", "cave/cs/cyrillic"),
    )
    for name in recordings:
        path = root / "sound" / f"{name}.ogg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    scripts = {
        "reef/dialogs_nl.lua": [("a", "Hé, wat?"), ("digits", "De LC-10."), ("no recording", "Niets")],
        "reef/dialogs_cs.lua": [("a", "Co je to za loď?")],
        "reef/dialogs_en.lua": [("a", "English")],
        "cave/dialogs_nl.lua": [("empty", " ... ")],
        "cave/demo_dialogs_nl.lua": [("help", "Help!")],
        "cave/dialogs_cs.lua": [("cyrillic", "Правда")],
        "share/bore_dialogs_nl.lua": [("joke", "Zo'n 'grap'.")],
    }
    for name, lines in scripts.items():
        path = root / "script" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        calls = [f'dialogId("{key}", "font", "English")\ndialogStr("{text}")\n' for key, text in lines]
        path.write_text("\n".join(calls), encoding="utf-8")


def test_manifest_joins_recordings_with_their_level_s_scripts(tmp_path: Path) -> None:
    write_game(tmp_path)
    manifest = read_manifest(tmp_path, ("nl", "cs"))
    assert {clip.key: clip.text for clip in manifest.clips} == {
        "nl/reef/a": "hé wat",
        "nl/cave/help": "help",
        "nl/share/jokes/joke": "zo'n grap",
        "cs/reef/a": "co je to za loď",
    }
    assert [clip.key for clip in manifest.clips] == sorted(clip.key for clip in manifest.clips)
    assert manifest.counts == {
        "recordings": 8,
        "clips": 4,
        "clips nl": 3,
        "clips cs": 1,
        "no transcript": 1,
        "empty transcript": 1,
        "not spelled out": 2,
    }
    only = read_manifest(tmp_path, ("cs",))
    assert [clip.key for clip in only.clips] == ["cs/reef/a"]


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no recordings with transcripts in nl"):
        read_manifest(tmp_path, ("nl",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Hallo,   WERELD! ", "hallo wereld"),
        ("Zo'n 'mooie' dag, 's middags", "zo'n mooie dag 's middags"),
        ("’t Is ‘goed’", "'t is goed"),
        ("Příliš-žluťoučký...", "příliš žluťoučký"),
        ("re\u0301", "ré"),
        ("...", ""),
    ],
)
def test_normalized_text(text: str, expected: str) -> None:
    assert normalize(text) == expected


def test_texts_that_are_not_what_is_spoken() -> None:
    assert is_spelled_out("zo'n hé", "nl")
    assert not is_spelled_out("loď", "nl")
    assert is_spelled_out("loď", "cs")
    for text in ("lc 10", "b%1", normalize("Правда")):
        assert not is_spelled_out(text, "cs")


def test_numbers_of_characters_are_unique_and_invertible() -> None:
    assert len(set(ALPHABET)) == len(ALPHABET) == CLASSES - 1
    numbers = encode(ALPHABET)
    assert sorted(numbers) == list(range(1, CLASSES))
    assert decode([0, *numbers, 0]) == ALPHABET


def test_levels_are_held_out_for_all_languages_alike() -> None:
    def clip(language: str, level: str) -> Clip:
        return Clip(language, level, "", "x", "x", "x")

    levels = [f"level{number:02}" for number in range(25)]
    clips = [clip("nl", level) for level in levels[::2]] + [clip("cs", level) for level in levels]
    split = corpus.split_levels([*clips, clip("nl", corpus.SHARED_LEVEL)])
    assert split["valid"] == {"level04", "level14", "level24"}
    assert split["test"] == {"level09", "level19"}
    assert split["train"] == set(levels) - split["valid"] - split["test"] | {corpus.SHARED_LEVEL}
