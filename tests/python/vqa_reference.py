"""The EvalAI answer normaliser and the soft accuracy as BENCHMARKS describes them, written down plainly: what
tests/data/text/vqa_cases.json was made with.

python vqa_reference.py make vqa_cases.json evaluation/benchmarks/vqa_text.cpp    frozen cases (the contraction table is read from the source)
python vqa_reference.py random COUNT SEED evaluation/benchmarks/vqa_text.cpp      JSON lines {"answer", "expected"} on stdout
"""
import json
import random
import re
import sys

NUMBERS = "none zero one two three four five six seven eight nine ten".split()
DIGITS = dict(zip(NUMBERS, ["0"] + [str(n) for n in range(11)]))
MARKS = [";", "/", "[", "]", '"', "{", "}", "(", ")", "=", "+", "\\", "_", "-", ">", "<", "@", "`", ",", "?", "!"]


def contractions(source):
    pairs = re.findall(r"""\{U"([^"]+)", U"([^"]+)"\}""", open(source, encoding="utf-8").read())
    return {wrong: right for wrong, right in pairs if wrong not in DIGITS}


def normalize(answer, table):
    text = answer.lower()
    for old, new in ((",", ""), ("?", ""), ("'s", " 's")):
        text = text.replace(old, new)
    text = text.strip().replace("\n", " ").replace("\t", " ").strip()
    given = text
    for mark in MARKS:
        near_space = mark + " " in given or " " + mark in given
        text = text.replace(mark, "" if near_space or re.search(r"(?<=\d)(\,)+(?=\d)", given) else " ")
    text = re.sub(r"(?!<=\d)(\.)(?!\d)", "", text, count=32)
    words = [DIGITS.get(word, word) for word in text.lower().split()]
    return " ".join(table.get(word, word) for word in words if word not in ("a", "an", "the"))


def score(answer, expected, table):
    said, wanted = normalize(answer, table), [normalize(one, table) for one in expected]
    if len(wanted) == 1:
        return float(said == wanted[0])
    shares = [min(1, sum(w == said for j, w in enumerate(wanted) if j != i) / 3) for i in range(len(wanted))]
    return sum(shares) / len(shares)


def random_answer(rng, table):
    words = list(table) + list(table.values()) + NUMBERS + ["a", "an", "the", "A", "The", "red", "Yes", "no", "it's", "1,000"]
    nasty = ["\u0130", "\u03a3", "\u03b1\u03a3", "\u03a3.", "\u00c9", "\u00df", "\u1e9e", "\u0660", "\u00b2", "\u2028", "\u00a0",
             "\x1c", "\x85", "\t", "\n", "\r", "\ufeff", "\u200d", "\U0001f600", "\U00010400", "\u01c5", "\u0345", "\u2126"]
    parts = []
    for _ in range(rng.randint(0, 8)):
        kind = rng.random()
        if kind < 0.4:
            word = rng.choice(words)
            parts.append(rng.choice([word, word, word.upper(), word.title()]))
        elif kind < 0.6:
            parts.append("".join(rng.choice(MARKS + [".", "'", "'s", "."]) for _ in range(rng.randint(1, 3))))
        elif kind < 0.7:
            parts.append(str(rng.randint(0, 2000)) + rng.choice(["", ".", ".5", ",000", "%", "'s"]))
        elif kind < 0.8:
            parts.append(rng.choice(nasty))
        elif kind < 0.85:
            parts.append("." * rng.randint(1, 40))
        else:
            parts.append("".join(chr(rng.choice([rng.randint(32, 126), rng.randint(0xA0, 0x24FF), rng.randint(0x1E00, 0x1FFF)]))
                                 for _ in range(rng.randint(1, 5))))
        parts.append(rng.choice(["", " ", " ", " ", "  "]))
    return "".join(parts)


def rows(count, seed, table):
    rng = random.Random(seed)
    for _ in range(count):
        answer = random_answer(rng, table)
        yield {"answer": answer, "expected": normalize(answer, table)}


if __name__ == "__main__":
    if sys.argv[1] == "random":
        for row in rows(int(sys.argv[2]), int(sys.argv[3]), contractions(sys.argv[4])):
            print(json.dumps(row))
    else:
        table = contractions(sys.argv[3])
        cases = list(rows(300, 1, table))
        cases += [{"answer": word, "expected": normalize(word, table)} for word in list(table) + NUMBERS]
        cases += [{"answer": a, "expected": normalize(a, table)} for a in (
            "", "the", "The A an", "Im here", "I'dve", "." * 32, "." * 33, "." * 40, "3.5", ".5", "5.", "a.b", "U.S.A.", "1,000",
            "1,000; 5", "red-and-white", "red - white", "yes, he's", "',s", "what's?", "dog's", "none", "None of the above",
            "ten o'clock", "\u0397\u039b\u0399\u039f\u03a3", "\u03a3", "\u0130stanbul", "two\u00a0dogs", "two\x1cdogs", "\tno\n", "no\u2028!", "yes !", "yes!no",
            "a/b", "a / b", "\u0665.\u0665", "5.\u0665")]
        rng = random.Random(2)
        pool = ["red", "Red.", "the red", "blue", "dark blue", "two", "2", "couldnt", "couldn't"]
        scores = []
        for _ in range(60):
            few = [rng.choice(pool) for _ in range(rng.choice([1, 2, 4]))]
            expected = [rng.choice(few) for _ in range(rng.choice([1, 10, 10, 10]))]
            answer = rng.choice(few + pool)
            scores.append({"answer": answer, "expected": expected, "score": score(answer, expected, table)})
        with open(sys.argv[2], "w", encoding="utf-8") as file:
            file.write("{\n \"normalize\": [\n  " + ",\n  ".join(json.dumps(c) for c in cases) + "\n ],\n")
            file.write(" \"scores\": [\n  " + ",\n  ".join(json.dumps(c) for c in scores) + "\n ]\n}\n")
