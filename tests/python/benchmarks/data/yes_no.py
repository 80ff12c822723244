"""POPE and MME: yes or no about images."""
from . import images
from .files import SHORT, Files, Question, write_json_lines, write_text

SPLIT_FOLDERS = ("artwork", "celebrity", "landmark", "posters", "scene")


def pope(folder, rows):
    """Rows {split, image, text, label} in the order asked; question ids count from 0 over all, in a label file from 1."""
    lines = [{"question_id": number, "image": row["image"], "text": row["text"] + SHORT, "category": row["split"]}
             for number, row in enumerate(rows)]
    questions = write_json_lines(folder / "llava_pope_test.jsonl", lines)
    splits = {}
    for row in rows:
        mine = splits.setdefault(row["split"], [])
        mine.append({"question_id": len(mine) + 1, "image": row["image"], "text": row["text"], "label": row["label"]})
    labels = [write_json_lines(folder / "coco" / f"coco_pope_{split}.json", mine) for split, mine in sorted(splits.items())]
    images.write(folder / "val2014", [row["image"] for row in rows])
    asked = [Question(line["question_id"], line["text"], [row["label"]]) for line, row in zip(lines, rows)]
    return Files("pope", questions, labels, folder / "val2014", asked)


def mme(folder, rows):
    """Rows {category, file, pair: [(question, "Yes"), (question, "No")]}; a question ends in "Please answer yes or no.".
    Categories of SPLIT_FOLDERS lie in images/ and questions_answers_YN/, the others flat, as in the release."""
    asked, names = [], []
    for row in rows:
        category, stem = row["category"], row["file"].rsplit(".", 1)[0]
        split = category in SPLIT_FOLDERS
        name = f"{category}/images/{row['file']}" if split else f"{category}/{row['file']}"
        texts = folder / category / "questions_answers_YN" if split else folder / category
        write_text(texts / f"{stem}.txt", "".join(f"{question}\t{label}\n" for question, label in row["pair"]))
        names.append(name)
        for question, label in row["pair"]:
            asked.append(Question(name, question.replace("Please answer yes or no.", "").rstrip() + SHORT, [label]))
    images.write(folder, names)
    return Files("mme", images=folder, asked=asked)
