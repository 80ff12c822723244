"""ScienceQA and MMBench: multiple choice."""
import base64

from . import images
from .files import LETTER, Files, Question, write_json, write_text


def scienceqa(folder, rows, other_splits=()):
    """Rows {id, question, choices, answer (an index), hint, image (a file name or None)}; `other_splits` are ids of problems
    that are not in the test split and are not asked."""
    def problem(row):
        return {"question": row["question"], "choices": row["choices"], "answer": row["answer"], "hint": row["hint"],
                "image": row["image"], "task": "closed choice", "grade": "grade4", "subject": "natural science",
                "topic": "physics", "category": "Magnets", "skill": "", "lecture": "", "solution": "", "split": "test"}

    def text(row):
        choices = " ".join(f"({chr(65 + place)}) {choice}" for place, choice in enumerate(row["choices"]))
        return f"Context: {row['hint'] or 'N/A'}\nQuestion: {row['question']}\nOptions: {choices}"

    records, asked = [], []
    for row in rows:
        human = ("<image>\n" if row["image"] else "") + text(row)
        record = {"id": row["id"], "conversations": [{"from": "human", "value": human},
                                                     {"from": "gpt", "value": f"The answer is {chr(65 + row['answer'])}."}]}
        if row["image"]:
            record["image"] = f"{row['id']}/{row['image']}"
        records.append(record)
        asked.append(Question(row["id"], human + LETTER, [chr(65 + row["answer"])],
                              {chr(65 + place): choice for place, choice in enumerate(row["choices"])}))
    questions = write_json(folder / "llava_test_CQM-A.json", records)
    problems = {row["id"]: problem(row) for row in rows}
    problems.update({one: problem({"question": "Which?", "choices": ["x", "y"], "answer": 0, "hint": "", "image": None})
                     for one in other_splits})
    annotations = [write_json(folder / "problems.json", problems),
                   write_json(folder / "pid_splits.json",
                              {"train": list(other_splits), "val": [], "test": [row["id"] for row in rows]})]
    images.write(folder / "images" / "test", [record["image"] for record in records if "image" in record])
    (folder / "images" / "test").mkdir(parents=True, exist_ok=True)
    return Files("scienceqa", questions, annotations, folder / "images" / "test", asked)


COLUMNS = ("index", "question", "hint", "A", "B", "C", "D", "answer", "category", "image", "source", "l2-category", "comment",
           "split")


def _field(text):
    """Quoted where pandas would quote it."""
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in '\t\n\r"') else text


def mmbench(folder, rows, missing="", columns=COLUMNS):
    """Rows {index, question, answer, category, "l2-category", A, B and as the case may be hint, C, D, image}; fields a row
    lacks are written as `missing`."""
    lines, asked = ["\t".join(columns)], []
    for number, row in enumerate(rows):
        picture = row.get("image", base64.b64encode(images.jpeg() if number == 1 else images.png(number % 50)).decode())
        full = {"source": "test", "split": "dev", **row, "index": str(row["index"]), "image": picture}
        lines.append("\t".join(_field(full.get(column, missing)) for column in columns))
        options = {}
        for letter in "ABCD":
            if letter not in row:
                break
            options[letter] = row[letter]
        prompt = "\n".join([*([row["hint"]] if "hint" in row else []), row["question"],
                            *(f"{letter}. {option}" for letter, option in options.items())])
        asked.append(Question(row["index"], prompt, [row["answer"]], options))
    return Files("mmbench", write_text(folder / "mmbench_dev_20230712.tsv", "\n".join(lines) + "\n"), asked=asked)
