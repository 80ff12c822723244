"""POPE: yes or no against the labels of three splits."""
from .common import BadData, counted, json_lines, last_answers, mean, refuse_repeated


def yes(text):
    """LLaVA's reading: anything is yes but a first sentence with one of three words."""
    words = text.split(".")[0].replace(",", "").split(" ")
    return not any(word in ("No", "not", "no") for word in words)


def _ratio(part, whole):
    return part / whole if whole else 0.0


def _metrics(said, labels, protocol):
    """`said` holds "yes", "no", or with lmms-eval any other text, which is neither."""
    pairs = list(zip(said, labels))
    true_yes = sum(one == "yes" and label == "yes" for one, label in pairs)
    false_yes = sum(one == "yes" and label == "no" for one, label in pairs)
    false_no = sum(one == "no" and label == "yes" for one, label in pairs)
    precision, recall = _ratio(true_yes, true_yes + false_yes), _ratio(true_yes, true_yes + false_no)
    # lmms-eval's yes-ratio is of the labels, not of the answers.
    counted_yes = labels if protocol == "lmms" else said
    return {
        "accuracy": mean([float(one == label) for one, label in pairs]),
        "precision": precision,
        "recall": recall,
        "f1": _ratio(2 * precision * recall, precision + recall),
        "yes_ratio": _ratio(counted_yes.count("yes"), len(counted_yes)),
    }


def _labels_of(labels, questions):
    """In order where there are as many as questions; of more, those with the questions' image and text."""
    if len(labels) > len(questions):
        of = {}
        for one in labels:
            if of.setdefault((one["image"], one["text"]), one) is not one:
                raise BadData("two labels of one question")
        labels = [of[one["image"], one["text"].split("\n")[0]] for one in questions]
    return [one["label"] for one in labels]


def score(files, answers, protocol="llava", rule=None):
    rows = json_lines(files.questions)
    refuse_repeated([row["question_id"] for row in rows], "question_id")
    split_of = {row["question_id"]: row["category"] for row in rows}
    labels = {path.name[len("coco_pope_"):-len(".json")]: json_lines(path) for path in files.annotations}
    labels = {split: _labels_of(lines, [row for row in rows if row["category"] == split]) for split, lines in labels.items()
              if split in split_of.values()}
    answers = last_answers(answers, lambda answer: answer["question_id"], counted(split_of))
    said = {split: [] for split in labels}
    for answer in answers:
        split = split_of[answer["question_id"]]
        if split not in said:
            raise BadData(f"no labels of the split {split}")
        if protocol == "lmms":
            said[split].append(answer["text"].lower().strip())
        else:
            said[split].append("yes" if yes(answer["text"]) else "no")
    categories = {}
    for split, expected in labels.items():
        if set(expected) - {"yes", "no"}:
            raise BadData(f"a label of {split} is neither yes nor no")
        if len(said[split]) != len(expected):
            raise BadData(f"{len(said[split])} answers and {len(expected)} labels of {split}")
        for name, value in _metrics(said[split], expected, protocol).items():
            categories[f"{split}/{name}"] = value
    return {"score": mean([categories[f"{split}/f1"] for split in labels]), "count": len(answers), "categories": categories}
