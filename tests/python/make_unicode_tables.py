"""Writes datasets/unicode_tables.cpp: the Unicode facts behind Python's str methods and the tokenizers library.

Run with Python 3.11 and `tokenizers` 0.22: python make_unicode_tables.py > datasets/unicode_tables.cpp
"""
import sys

from tokenizers import AddedToken, Tokenizer, models

LAST = 0x110000


def scalars():
    return (c for c in range(LAST) if not 0xD800 <= c < 0xE000)


def ranges(holds):
    """Inclusive ranges of the code points for which holds(character) is true."""
    found = []
    for c in scalars():
        if not holds(chr(c)):
            continue
        if found and found[-1][1] == c - 1:
            found[-1][1] = c
        else:
            found.append([c, c])
    return found


def lower_runs():
    """[first, last, step, delta]: code points first, first + step, ..., last become themselves plus delta."""
    runs = []
    for c in scalars():
        low = chr(c).lower()
        if low == chr(c) or len(low) != 1:
            continue
        delta = ord(low) - c
        for step in (1, 2):
            if runs and runs[-1][3] == delta and runs[-1][1] + step == c and runs[-1][2] in (0, step):
                runs[-1][1:3] = c, step
                break
        else:
            runs.append([c, c, 0, delta])
    return [[first, last, step or 1, delta] for first, last, step, delta in runs]


def word_ranges():
    """What the tokenizers library takes for a word character beside a `single_word` token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.add_tokens([AddedToken("\u0001X", single_word=True, normalized=False)])
    return ranges(lambda c: not tokenizer.encode(c + "\u0001X").ids)


def table(kind, name, rows, comment):
    print(f"\n{comment}")
    print(f"static constexpr {kind} {name}_rows[] = {{")
    line = "   "
    for row in rows:
        cell = " {" + ", ".join(hex(v) if i < 2 else str(v) for i, v in enumerate(row)) + "},"
        if len(line) + len(cell) > 118:
            print(line)
            line = "   "
        line += cell
    print(line + f"\n}};\nconst std::span<const {kind}> {name}{{{name}_rows}};")


if __name__ == "__main__":
    sigma_final = lambda text: (text + "\u03a3").lower().endswith("\u03c2")
    cased = lambda c: sigma_final(c)
    ignorable = lambda c: sigma_final("A" + c) and not sigma_final(c)
    print("// Written by tests/python/make_unicode_tables.py; not edited by hand. Unicode 14.0 but for word characters.")
    print('#include "datasets/unicode_tables.h"\n\nnamespace yopo::unicode {')
    table("LowerRun", "lower_runs", lower_runs(), "// Lower case of one code point.")
    table("Range", "cased", ranges(cased), "// Cased and not case-ignorable: decides the final sigma.")
    table("Range", "case_ignorable", ranges(ignorable), "// Skipped when looking for the letters around a sigma.")
    table("Range", "decimal_digits", ranges(str.isdecimal), "// General category Nd.")
    table("Range", "word_characters", word_ranges(), "// \\w of the regular expressions of Rust.")
    print("\n}  // namespace yopo::unicode")
    sys.stdout.flush()
