"""VQAv2 on an annotated split: EvalAI's normaliser on the answer (what LLaVA submits), then the official scorer."""
from .common import BadData, counted, group_means, json_file, json_lines, last_answers, mean, refuse_repeated
from .vqa_text import evalai, lmms_vqav2_accuracy, official_accuracy


def question_ids(path):
    """Of LLaVA's question file, or of the official questions JSON."""
    if path.suffix == ".jsonl":
        return [row["question_id"] for row in json_lines(path)]
    return [row["question_id"] for row in json_file(path)["questions"]]


def score(files, answers, protocol="llava", rule=None):
    """The annotations, and beside them LLaVA's full list (JSON lines) if there is one: what it lists beyond the questions asked
    is answered with nothing."""
    ids = question_ids(files.questions)
    refuse_repeated(ids, "question_id")
    said = {answer["question_id"]: answer["text"]
            for answer in last_answers(answers, lambda answer: answer["question_id"], counted(ids))}
    annotated = {}
    for path in files.annotations:
        if path.suffix == ".jsonl":
            for one in question_ids(path):
                said.setdefault(one, "")
        else:
            annotated = {row["question_id"]: row for row in json_file(path)["annotations"]}
    if set(said) - set(annotated):
        raise BadData(f"asked without annotation: {sorted(set(said) - set(annotated))[:3]}")
    results = []
    for name, text in said.items():
        expected = [one["answer"] for one in annotated[name]["answers"]]
        if protocol == "lmms":
            results.append((annotated[name]["answer_type"], lmms_vqav2_accuracy(text, expected)))
        else:
            results.append((annotated[name]["answer_type"], official_accuracy(evalai(text), expected)))
    return {"score": mean([accuracy for _, accuracy in results]), "count": len(results), "categories": group_means(results)}


def submission(full_list, answers):
    """What goes to the test server: every id of the full list, "" for those that were not asked."""
    said = {answer["question_id"]: answer["text"] for answer in answers}
    return [{"question_id": row["question_id"],
             "answer": evalai(said[row["question_id"]]) if row["question_id"] in said else ""}
            for row in json_lines(full_list)]
