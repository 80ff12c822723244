"""TextVQA: EvalAI's normaliser on both sides, joined on image and question."""
import re

from .common import BadData, counted, json_file, json_lines, last_answers, only
from .vqa_text import evalai, soft_accuracy

OCR = "Reference OCR token: "


def question(prompt):
    """The question inside a prompt, lower-cased and not stripped."""
    lines = prompt.split("\n")
    if prompt.startswith("OCR tokens: "):
        found = re.search("Question: (.*?) Short answer:", prompt, re.DOTALL)
        if not found:
            raise BadData(f"no question in the prompt {prompt!r}")
        return found.group(1).lower()
    if OCR in prompt and len(lines) == 3:
        return lines[1 if prompt.startswith(OCR.rstrip()) else 0].lower()
    if len(lines) == 2:
        return lines[0].lower()
    raise BadData(f"a prompt of {len(lines)} lines: {prompt!r}")


def score(files, answers, protocol="llava", rule=None):
    # The last annotation of an image and question wins.
    annotated = {(row["image_id"], row["question"].lower()): row["answers"] for row in json_file(files.annotations[0])["data"]}
    asked = [(row["question_id"], question(row["text"])) for row in json_lines(files.questions)]
    for one in asked:
        if one not in annotated:
            raise BadData(f"no annotation of {one}")
    answers = last_answers(answers, lambda answer: (answer["question_id"], question(answer["prompt"])), counted(asked))
    results = []
    for answer in answers:
        expected = [evalai(one) for one in annotated[answer["question_id"], question(answer["prompt"])]]
        if len(expected) != 10:
            raise BadData(f"{len(expected)} answers of {answer['question_id']}")
        results.append(soft_accuracy(evalai(answer["text"]), expected))
    return only(results)
