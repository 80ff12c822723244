"""GQA: exact equality over the balanced questions."""
import string

from .common import BadData, counted, json_file, json_lines, last_answers, mean, refuse_repeated

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def prediction(text):
    """What LLaVA hands to GQA's script: trailing dots gone, lower case, nothing else."""
    return text.rstrip(".").lower()


def _lmms(text):
    """exact_match with ignore_case and ignore_punctuation: the 32 ASCII marks are dropped on both sides."""
    return text.lower().translate(_NO_PUNCTUATION)


def score(files, answers, protocol="llava", rule=None):
    ids = [row["question_id"] for row in json_lines(files.questions)]
    refuse_repeated(ids, "question_id")
    questions = json_file(files.annotations[0])
    for one in ids:
        if one not in questions:
            raise BadData(f"question {one} has no annotation")
    said = {answer["question_id"]: answer["text"]
            for answer in last_answers(answers, lambda answer: answer["question_id"], counted(ids))}
    results = []
    for name, question in questions.items():
        if not question["isBalanced"] or name not in said:  # the annotations may be of more questions than are asked
            continue
        if protocol == "lmms":
            right = _lmms(said[name]) == _lmms(question["answer"])
        else:
            right = prediction(said[name]) == question["answer"]
        results.append((question["types"]["structural"], float(right)))
    return {
        "score": mean([right for _, right in results]),
        "count": len(results),
        "categories": {
            "open": mean([right for kind, right in results if kind == "query"]),
            "binary": mean([right for kind, right in results if kind != "query"]),
        },
    }
