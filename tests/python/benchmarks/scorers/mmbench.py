"""MMBench: circular evaluation under one of three named rules that turn free text into a letter."""
import csv
import re
import string

from .common import BadData, counted, group_means, last_answers, mean

LETTERS = "ABCD"
GROUP = 1000000
RULES = ("letter", "vlmevalkit", "lmms")
NA = {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL",
      "NaN",
      "None", "n/a", "nan", "null"}  # what pandas reads as a missing value
csv.field_size_limit(1 << 30)


def missing(value):
    """LLaVA's is_none of what pandas read."""
    return value in NA or value.lower() in ("nan", "none")


def table(path):
    """The rows of a TSV as {column: text}, fields quoted or not."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        lines = [line for line in csv.reader(file, delimiter="\t") if line]
    header, rows = lines[0], lines[1:]
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise BadData(f"{path}: row {number} has {len(row)} fields, not {len(header)}")
    return [dict(zip(header, row)) for row in rows]


def options(row):
    """{letter: text}: they stop at the first missing one, even in mid-list."""
    found = {}
    for one in LETTERS:
        if missing(row[one]):
            break
        found[one] = row[one]
    return found


def _choices(row, letters):
    """Options as VLMEvalKit and lmms-eval see them: all columns that pandas does not call missing, and the right one, whose
    own words may look so."""
    return {one: row[one] for one in letters if one in row and (row[one] not in NA or one == row.get("answer"))}


def _one_text(text, choices):
    """The only option whose text occurs in the answer, in any case."""
    text = text.lower()
    found = [one for one, option in choices.items() if option.lower() in text]
    return found[0] if len(found) == 1 else None


def letter(text, row):
    text = text.strip()
    return text if text in options(row) or text == row.get("answer") else None


def vlmevalkit(text, row):
    """VLMEvalKit's can_infer, its exact matching without a judge; "Z" is a refusal."""
    choices = _choices(row, string.ascii_uppercase)
    return _kit_letter(text, choices) or _kit_text(text, choices)


_REFUSALS = ("Sorry, I can't help with images of people yet.", "I can't process this file.",
             "I'm sorry, but without the image provided", "Cannot determine the answer")


def _kit_letter(text, choices):
    if "Failed to obtain answer via API" in text:
        return None
    if any(refusal in text for refusal in _REFUSALS):
        return "Z"
    words = re.sub(r"[.()\[\],:;!*#{}]", " ", text).split()
    found = [one for one in choices if one in words]
    if len(found) == 1:
        if words.index(found[0]) > len(words) - 5:  # among the last four words at its first place
            return found[0]
    elif not found and "Z" in words:
        return "Z"
    said = re.search(r"(?i)(?:correct\s+)?answer\s+is\s+\**([ABCD])\**", text)
    return said.group(1).upper() if said and said.group(1).upper() in choices else None


def _kit_text(text, choices):
    if len(text.lower()) > 2 * sum(len(option) for option in choices.values()):
        return None
    return _one_text(text, choices)


# How a letter may be dressed, in the order lmms-eval tries them.
_DRESSED = ("{}.", "{},", "{}:", "{})", "{}).", "({})", "({}).", ":{}", ":{},", ":{}.", ":{})", ":{}).")


def lmms(text, row):
    """lmms-eval's task mmbench_en_dev_static: its matching, and the letter that stands out most in place of a judge."""
    text, choices = text.strip(), _choices(row, LETTERS)
    return _lmms_letter(text) or _one_text(text, choices) or _outstanding(text, list(choices) or "ABCDEFGH")


def _lmms_letter(text):
    if "Failed to obtain answer via API" in text:
        return None
    words = text.split()
    found = [one for one in "ABCDE" if one in words]
    # An A among more than three words may be the article: the bare letter is not taken then, whichever it is.
    if len(found) == 1 and not ("A" in words and len(words) > 3):
        return found[0]
    for dress in _DRESSED:
        found = [one for one in "ABCDE" if dress.format(one) in words]
        if len(found) == 1:
            return found[0]
    return None


_PHRASES = [start + noun + " is" for noun in ("answer", "choice") for start in ("", "the ", "correct ", "the correct ", "my ")] + [
    start + noun + " is" for noun in ("answer", "option") for start in ("best ", "the best ")] + [
    start + "correct option is" for start in ("", "the ")] + ["i choose", "i select", "i pick"] + [
    "\uc635\uc158", "\uc815\ub2f5\uc740", "\ub2f5\uc740", "\ub2f5:", "\u7b54\u6848\u662f", "\u7b54\u6848\u4e3a", "\u9009",
    "\u7b54\u3048\u306f"]


def _outstanding(text, letters):
    """Every place of every letter as (how telling its form is, where it stands); the greatest wins."""
    for mark in ",.!?;:'\"":
        text = text.strip(mark)
    padded, inner = f" {text} ", text.strip()
    if not text.strip():
        return None
    found = []
    for one in letters:
        alone = rf"(?<![^\W\d_]){one}$"
        for rank, form in ((6, f"({one})"), (5, f"{one}."), (4, f"{one}:"), (3, f"{one})"), (2, f"{one} ")):
            found.append((rank, padded.rfind(form), one))
        for phrase in _PHRASES:
            start = padded.lower().find(phrase)
            if start >= 0:
                found.append((7, padded.find(one, start + len(phrase)), one))
        if inner[0] == one and not inner[1:2].isalpha():
            found.append((10, 0, one))
        if re.search(alone, inner):
            found.append((9, len(padded) - 1, one))
        found.append((0, padded.rfind(one), one))
    rank, place, one = max(found)
    return one if place >= 0 else next((letter for _, at, letter in sorted(found, reverse=True) if at >= 0), None)


def score(files, answers, protocol="llava", rule=None):
    rule = rule or ("lmms" if protocol == "lmms" else "letter")
    read = {"letter": letter, "vlmevalkit": vlmevalkit, "lmms": lmms}[rule]
    rows = {}
    for row in table(files.questions):
        if not re.fullmatch("[0-9]+", row["index"]):
            raise BadData(f"index {row['index']!r}")
        if int(row["index"]) in rows:
            raise BadData(f"index {row['index']} occurs twice")
        if not re.fullmatch("[A-Z]", row["answer"]) or not row.get(row["answer"]):
            raise BadData(f"answer {row['answer']!r} of {row['index']} is no option")
        rows[int(row["index"])] = row
    hits = {}
    for answer in last_answers(answers, lambda answer: answer["question_id"], counted(rows)):
        row = rows[answer["question_id"]]
        hits.setdefault(answer["question_id"] % GROUP, []).append(read(answer["text"], row) == row["answer"])
    # A group whose main row is absent does not count.
    results = [(rows[group], float(all(hits[group]))) for group in hits if group in rows]
    categories = {}
    for column in ("category", "l2-category"):
        categories.update(group_means((f"{column}/{row[column]}", hit) for row, hit in results if column in row))
    return {"score": mean([hit for _, hit in results]), "count": len(results), "categories": categories}
