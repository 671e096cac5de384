"""Transcripts: reads the game's dialog scripts and joins them with the recordings that they name.

A level has scripts in Lua, one per language, with pairs of calls: the name of a recording with the English subtitle,
then the subtitle in the script's language.

    dialogId("let-m-divna", "font_small", "What kind of strange ship is that?")
    dialogStr("Wat is dit voor raar schip?")

Only these calls are read, with Lua's comments and strings; nothing is executed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from irnn_tvm.errors import InputError
from irnn_tvm.examples.speech.text import is_spelled_out, normalize

_TOKEN = re.compile(
    r"""(?P<comment>--\[(?P<level>=*)\[.*?\](?P=level)\]|--[^\n]*)
      | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<long>\[\[.*?\]\])
      | (?P<name>[A-Za-z_]\w*)
      | (?P<space>\s+)
      | (?P<other>\.\.|.)""",
    re.DOTALL | re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(\d{1,3}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "\n": "\n"}


@dataclass(frozen=True)
class Clip:
    """One recording with its transcript. level: the part of the game; group: a folder inside of it, or ""."""

    language: str
    level: str
    group: str
    name: str
    text: str
    path: str

    @property
    def key(self) -> str:
        """Unique and stable: language/level[/group]/name."""
        return "/".join(part for part in (self.language, self.level, self.group, self.name) if part)


@dataclass(frozen=True)
class Manifest:
    """The clips that can be learned from, sorted by key, and how many recordings were counted for what reason."""

    clips: tuple[Clip, ...]
    counts: dict[str, int]


def parse_dialogs(source: str, where: str = "script") -> dict[str, str]:
    """{name of the recording: subtitle} of one Lua script, in its order; the last one of a name counts.

    InputError, with the line, for a dialogStr that follows no dialogId and for arguments that are not strings.
    """
    subtitles: dict[str, str] = {}
    current: str | None = None
    tokens = list(_tokens(source))
    for index, (kind, value, line) in enumerate(tokens):
        if kind != "name" or value not in ("dialogId", "dialogStr"):
            continue
        if index and tokens[index - 1][1] == "function":
            continue  # the definition, not a call
        arguments = _arguments(tokens, index + 1, f"{where}:{line}: {value}")
        if value == "dialogId":
            current = arguments[0]
        elif current is None:
            raise InputError(f"{where}:{line}: dialogStr follows no dialogId")
        else:
            subtitles[current] = arguments[0]
    return subtitles


def _tokens(source: str) -> Iterator[tuple[str, str, int]]:
    """(kind, value, line): names as they are, strings without quotes and escapes, single signs."""
    line = 1
    for match in _TOKEN.finditer(source):
        kind, raw = match.lastgroup or "", match.group()
        if kind == "string":
            yield "string", _ESCAPE.sub(_unescape, raw[1:-1]), line
        elif kind == "long":
            yield "string", raw[2:-2].removeprefix("\n"), line
        elif match.group("comment") is None and kind != "space":
            yield kind, raw, line
        line += raw.count("\n")


def _unescape(match: re.Match[str]) -> str:
    code = match.group(1)
    return chr(int(code)) if code.isdigit() else _ESCAPES.get(code, code)


def _arguments(tokens: Sequence[tuple[str, str, int]], index: int, where: str) -> list[str]:
    """The string arguments of a call whose parenthesis opens at `index`; `..` joins strings."""
    arguments: list[str] = []
    join = False
    for kind, value, _ in tokens[index + 1 :]:
        if kind == "string":
            if join:
                arguments[-1] += value
            else:
                arguments.append(value)
            join = False
        elif value == ".." and arguments:
            join = True
        elif value == ")" and arguments and tokens[index][1] == "(":
            return arguments
        elif value != ",":
            break
    raise InputError(f"{where} has arguments that are not strings; supported: quoted strings, joined by ..")


def read_manifest(root: Path, languages: Sequence[str]) -> Manifest:
    """Every recording `sound/<level>/[<group>/]<language>/<name>.ogg` under `root` with its transcript.

    Left out, and counted under these names: recordings that no script names ("no transcript"), those with an empty
    subtitle ("empty transcript"), and those whose subtitle is not what is spoken because it has digits, placeholders
    or another alphabet ("not spelled out").
    """
    subtitles = {language: _subtitles(root / "script", language) for language in languages}
    counts: Counter[str] = Counter()
    clips = []
    for path in sorted((root / "sound").rglob("*.ogg")):
        parts = path.relative_to(root).parts
        language = parts[-2]
        if language not in languages:
            continue
        counts["recordings"] += 1
        text = subtitles[language].get((parts[1], path.stem))
        clean = normalize(text or "")
        if text is None:
            counts["no transcript"] += 1
        elif not clean:
            counts["empty transcript"] += 1
        elif not is_spelled_out(clean, language):
            counts["not spelled out"] += 1
        else:
            group = parts[2] if len(parts) == 5 else ""
            clips.append(Clip(language, parts[1], group, path.stem, clean, path.relative_to(root).as_posix()))
            counts["clips"] += 1
            counts[f"clips {language}"] += 1
    if not clips:
        raise InputError(f"{root} holds no recordings with transcripts in {', '.join(languages)}")
    return Manifest(tuple(sorted(clips, key=lambda clip: clip.key)), dict(counts))


def _subtitles(scripts: Path, language: str) -> dict[tuple[str, str], str]:
    """{(level, name): subtitle}; a level may have several scripts, as demo_dialogs_nl.lua beside dialogs_nl.lua."""
    found: dict[tuple[str, str], str] = {}
    for path in sorted(scripts.glob(f"*/*dialogs_{language}.lua")):
        level = path.parent.name
        for name, text in parse_dialogs(path.read_text(encoding="utf-8"), f"{level}/{path.name}").items():
            found[level, name] = text
    return found
