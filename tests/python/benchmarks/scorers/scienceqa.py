"""ScienceQA: an option letter out of an answer, accuracy over all and over questions with an image."""
import re

from .common import BadData, counted, json_file, last_answers, mean, refuse_repeated

LETTERS = "ABCDE"


def letter(text):
    """LLaVA's parsing; None where it fails. The last dot of the pattern is the regular expression's."""
    if len(text) == 1 and text in LETTERS:
        return text
    if len(text) >= 3 and text[0] in LETTERS and text[1:3] == ". ":
        return text[0]
    found = re.findall("The answer is ([A-Z]).", text)
    return found[0] if len(found) == 1 else None


def _right_lmms(text, problem):
    """lmms-eval: the stripped answer is the letter in any case, or a capital and a dot begin it."""
    target = LETTERS[problem["answer"]].lower()
    text = text.strip()
    if text.lower() == target:
        return True
    return len(text) >= 2 and text[0].isupper() and text[1] == "." and text[0].lower() == target


def _right(text, problem):
    said = letter(text)
    return said is not None and said in LETTERS[:len(problem["choices"])] and LETTERS.index(said) == problem["answer"]


def score(files, answers, protocol="llava", rule=None):
    asked = [row["id"] for row in json_file(files.questions)]
    refuse_repeated(asked, "id")
    by_name = {path.name: path for path in files.annotations}
    problems = json_file(by_name["problems.json"])
    test = json_file(by_name["pid_splits.json"])["test"]
    for one in asked:
        if one not in problems or one not in test:
            raise BadData(f"question {one} is not in the test split")
        if not 0 <= problems[one]["answer"] < len(problems[one]["choices"]):
            raise BadData(f"the answer of {one} is none of its choices")
    names = {answer["question_id"] for answer in answers} & set(asked)
    # Only what was answered: here a question without an answer is wrong, not an error.
    said = {answer["question_id"]: answer
            for answer in last_answers(answers, lambda answer: answer["question_id"], counted(names))}
    right = _right_lmms if protocol == "lmms" else _right
    total, with_image = [], []
    for name in test:
        answer = said.get(name)
        hit = float(answer is not None and right(answer["text"], problems[name]))
        total.append(hit)
        if answer is not None and "<image>" in answer["prompt"]:
            with_image.append(hit)
    return {"score": mean(with_image), "count": len(total), "categories": {"IMG": mean(with_image), "total": mean(total)}}
