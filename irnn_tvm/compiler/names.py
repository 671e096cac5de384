"""Names in the generated C and C++, from the names of models and tensors.

What a language, a compiler's files or the generated code need gets a suffix; what a C identifier cannot hold is
replaced. Every change is a note in report.json.
"""

from __future__ import annotations

import re
import unicodedata

# C99 to C23 and C++98 to C++26, in lower case as all names here.
LANGUAGES = frozenset(
    """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t char32_t class co_await
    co_return co_yield compl concept const const_cast consteval constexpr constinit continue contract_assert decltype
    default delete do double dynamic_cast else enum explicit export extern false final float for friend goto if import
    inline int long module mutable namespace new noexcept not not_eq nullptr operator or or_eq override private
    protected public register reinterpret_cast requires restrict return short signed sizeof static static_assert
    static_cast struct switch template this thread_local throw true try typedef typeid typename typeof typeof_unqual
    union unsigned using virtual void volatile wchar_t while xor xor_eq
    """.split()  # noqa: SIM905
)
# What the generated functions that take tensors use besides: their other parameters, variables, calls and types, and
# macros that compilers and systems have under such names.
USED = frozenset(
    """
    state arena t code main forward check set_initial in_table check_state copy_rows used overlap snapshot interface
    checksum check_memory set_head snapshot_checksum count one current memcpy
    int8_t int16_t int32_t int64_t uint8_t uint32_t uintptr_t size_t
    linux unix i386 errno stdin stdout stderr near far interrupt
    """.split()  # noqa: SIM905
)
# A NAME.h or a library -lNAME that a compiler would take for its own, and the prefix of our routines.
FILES = frozenset(
    """
    assert complex ctype errno fenv float inttypes iso646 limits locale math pthread sched setjmp signal stdalign stdarg
    stdatomic stdbit stdbool stdckdint stddef stdint stdio stdlib stdnoreturn string strings tgmath threads time uchar
    unistd wchar wctype arduino main c m gcc rt dl irnn
    """.split()  # noqa: SIM905
)
_ALPHABET = "names in C have lower-case letters, digits and underscores here"


def tensor_name(label: str, used: set[str], kind: str) -> tuple[str, str | None]:
    """The parameter of a tensor, which is added to `used`, and a note where that is not its name.

    kind: "input" or "output"."""
    base = _identifier(label) or kind
    reason = "" if base == label else _ALPHABET
    if base in LANGUAGES:
        reason = "C or C++ reserves the word"
    elif base in USED:
        reason = "the generated code uses the name"
    base = f"{base}_" if base in LANGUAGES or base in USED else base
    name, number = base, 1
    while name in used:
        reason = reason or "another tensor has the name"
        number += 1
        name = f"{base}{number}"
    used.add(name)
    return name, None if name == label else f"{kind} {label!r} is {name} in C: {reason}"


def clean_name(text: str) -> str:
    """A name for a library that nobody named, of any text such as the stem of a model's file: letters, digits and
    underscores, "model" where there are none."""
    base = re.sub("_+", "_", _identifier(text)).strip("_") or "model"
    return f"net_{base}" if base[0].isdigit() else base


def library_name(label: str) -> tuple[str, str | None]:
    """The prefix of a library's symbols and files, and a note where that is not the name that was asked for."""
    base = label if re.fullmatch("_?[a-z][a-z0-9_]*", label) else clean_name(label)
    reason = _ALPHABET
    if base in LANGUAGES:
        reason = "C or C++ reserves the word"
    elif base in FILES:
        reason = "compilers have files of that name"
    # Not an underscore, since others follow: C++ reserves names with two of them.
    base = f"{base}_model" if base in LANGUAGES or base in FILES else base
    return base, None if base == label else f"the model {label!r} is {base} in C: {reason}"


def _identifier(label: str) -> str:
    """Letters without their accents, in lower case; an underscore for each other character, and one before a digit."""
    text = unicodedata.normalize("NFKD", label)
    text = "".join(char for char in text if not unicodedata.combining(char))
    text = re.sub(r"[^A-Za-z0-9_]", "_", text).lower()
    text = re.sub(r"\A__+", "_", text)  # two of them begin a name of the compiler's
    if not text.strip("_"):
        return ""
    return f"_{text}" if text[0].isdigit() else text
