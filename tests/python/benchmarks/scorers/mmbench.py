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
    """Options as VLMEvalKit and lmms-eval see them: all columns that pandas does not call missing."""
    return {one: row[one] for one in letters if one in row and row[one] not in NA}


def _one_text(text, choices):
    """The only option whose text occurs in the answer, in any case."""
    text = text.lower()
    found = [one for one, option in choices.items() if option.lower() in text]
    return found[0] if len(found) == 1 else None


def letter(text, row):
    text = text.strip()
    return text if text in options(row) else None


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
    """lmms-eval's matching before it asks a judge."""
    return _lmms_letter(text.strip()) or _one_text(text.strip(), _choices(row, LETTERS))


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


def score(files, answers, protocol="llava", rule=None):
    rule = rule or ("lmms" if protocol == "lmms" else "letter")
    read = {"letter": letter, "vlmevalkit": vlmevalkit, "lmms": lmms}[rule]
    rows = {}
    for row in table(files.questions):
        if not re.fullmatch("[0-9]+", row["index"]):
            raise BadData(f"index {row['index']!r}")
        if int(row["index"]) in rows:
            raise BadData(f"index {row['index']} occurs twice")
        if row["answer"] not in options(row):
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
