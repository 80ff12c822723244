"""Writes the Unicode facts behind Python's str methods and the tokenizers library as C++ tables.

Run with Python 3.11 and `tokenizers` 0.22.2:
    python make_unicode_tables.py > text/unicode_tables.cpp
    python make_unicode_tables.py tokenizers > text/unicode_tokenizers_tables.cpp
"""
import sys
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

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


def category_ranges(name):
    """What \\p{name} matches in the library's regular expressions."""
    splitter = pre_tokenizers.Split(Regex(r"\p{" + name + "}"), "removed")
    return ranges(lambda c: not splitter.pre_tokenize_str(c))


def decompositions():
    """[code point, first, second]: canonical decompositions in one step, second 0 if there is one part; without Hangul.

    All are those of Python's Unicode, less those that the library does not know.
    """
    decompose = normalizers.NFD().normalize_str
    rows = []
    for c in scalars():
        if 0xAC00 <= c < 0xD7A4:
            continue
        whole = decompose(chr(c))
        assert whole in (chr(c), unicodedata.normalize("NFD", chr(c))), hex(c)
        if whole != chr(c):
            rows.append((c, *([int(part, 16) for part in unicodedata.decomposition(chr(c)).split()] + [0])[:2]))
    return rows


def combining_classes():
    """[first, last, class]: canonical combining classes that are not 0, of the code points that the library reorders."""
    decompose = normalizers.NFD().normalize_str
    classes = {c: unicodedata.combining(chr(c)) for c in scalars()}
    decomposed = {row[0] for row in decompositions()}
    marks = [c for c, value in classes.items() if value and c not in decomposed]
    rows, low, high = [], "\u0334", "\u0345"  # classes 1 and 240
    for c in marks:
        value = classes[c] if decompose(high + chr(c)) != high + chr(c) or decompose(chr(c) + low) != chr(c) + low else 0
        if value and rows and rows[-1][1] == c - 1 and rows[-1][2] == value:
            rows[-1][1] = c
        elif value:
            rows.append([c, c, value])
    return rows


def compositions(pairs):
    """[first, second, composed], ascending: the decompositions that the library takes back."""
    compose = normalizers.NFC().normalize_str
    return sorted((first, second, c) for c, first, second in pairs if second and compose(chr(c)) == chr(c))


def table(kind, name, rows, comment):
    print(f"\n{comment}")
    print(f"static constexpr {kind} {name}_rows[] = {{")
    line = "   "
    for row in rows:
        cell = " {" + ", ".join(hex(v) if i < 2 or kind.endswith("omposition") else str(v) for i, v in enumerate(row)) + "},"
        if len(line) + len(cell) > 118:
            print(line)
            line = "   "
        line += cell
    print(line + f"\n}};\nconst std::span<const {kind}> {name}{{{name}_rows}};")


def write_python_tables():
    sigma_final = lambda text: (text + "\u03a3").lower().endswith("\u03c2")
    cased = lambda c: sigma_final(c)
    ignorable = lambda c: sigma_final("A" + c) and not sigma_final(c)
    print("// Written by tests/python/make_unicode_tables.py; not edited by hand. Unicode 14.0 but for word characters.")
    print('#include "text/unicode_tables.h"\n\nnamespace yopo::unicode {')
    table("LowerRun", "lower_runs", lower_runs(), "// Lower case of one code point.")
    table("Range", "cased", ranges(cased), "// Cased and not case-ignorable: decides the final sigma.")
    table("Range", "case_ignorable", ranges(ignorable), "// Skipped when looking for the letters around a sigma.")
    table("Range", "decimal_digits", ranges(str.isdecimal), "// General category Nd.")
    table("Range", "word_characters", word_ranges(), "// \\w of the regular expressions of Rust.")
    print("\n}  // namespace yopo::unicode")


def write_tokenizers_tables():
    print("// Written by tests/python/make_unicode_tables.py; not edited by hand. Unicode as tokenizers 0.22.2 knows")
    print("// it: 16.0 in regular expressions, 9.0 in normalization.")
    print('#include "text/unicode_tables.h"\n\nnamespace yopo::unicode {')
    table("Range", "letters", category_ranges("L"), "// General category L.")
    table("Range", "marks", category_ranges("M"), "// General category M.")
    table("Range", "numbers", category_ranges("N"), "// General category N.")
    pairs = decompositions()
    table("Decomposition", "decompositions", pairs, "// Canonical, one step: code point, first part, second part or 0.")
    table("Composition", "compositions", compositions(pairs), "// First, second, what they compose to.")
    table("CombiningRun", "combining_classes", combining_classes(), "// Canonical combining classes other than 0.")
    print("\n}  // namespace yopo::unicode")


if __name__ == "__main__":
    if sys.argv[1:] == ["tokenizers"]:
        write_tokenizers_tables()
    else:
        write_python_tables()
    sys.stdout.flush()
