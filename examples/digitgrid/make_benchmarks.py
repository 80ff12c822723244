"""DigitGrid's test questions in the file formats of three benchmarks, so that a model is scored through the readers, prompts
and metrics that POPE, VQAv2 and MMBench are scored through.

`python make_benchmarks.py` writes data/benchmarks/{pope,vqav2,mmbench} from data/test; the same input gives the same bytes.
Nothing but the standard library is needed.

- POPE: the yes/no questions. A split asks for what its name says in the benchmark: `random` for a digit, `popular` for a digit
  of a colour (there are five, so most are there), `adversarial` for a digit in a colour (a near miss where the answer is no).
- VQAv2: the open questions (where, how many, which colour). The labels are exact, so all ten annotators give the same answer.
- MMBench: the multiple-choice questions, each with its options rotated four times; a hit needs all four. The image lies in the
  main row, the rotations name its index, as VLMEvalKit's files do.

The questions are worded as the models were trained: without the request for a short answer or a letter that LLaVA appends,
which they never saw. MMBench's reader appends it unless asked not to (protocol `plain`).
"""
import argparse
import base64
import collections
import json
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
LETTERS = "ABCD"
ROTATION = 1_000_000
SPLITS = ("random", "popular", "adversarial")
GROUPS = 100  # of MMBench: their images lie in the table, and the repository holds them already
TSV = ("index", "question", "hint", *LETTERS, "answer", "category", "image", "source", "l2-category", "comment", "split")
# First words of a question, VQAv2's question_type, and the answer_type.
OPEN = (("What digit is", "what digit is", "number"), ("How many", "how many", "number"),
        ("What color is", "what color is", "other"))


def json_lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def pope_split(text):
    """"Is there a 6 / a red digit / a red 6 in the image?" """
    words = text.removeprefix("Is there a ").removesuffix(" in the image?").split()
    return SPLITS[0] if len(words) == 1 else SPLITS[1] if words[1] == "digit" else SPLITS[2]


def make_pope(folder, questions, answers):
    """llava_pope_test.jsonl, and per split coco/coco_pope_SPLIT.json with the labels in the order of its questions."""
    asked, labels = collections.defaultdict(list), collections.defaultdict(list)
    for question in questions:
        split = pope_split(question["text"])
        asked[split].append({"question_id": question["question_id"], "image": question["image"], "text": question["text"],
                             "category": split})
        labels[split].append({"question_id": len(labels[split]) + 1, "image": question["image"], "text": question["text"],
                              "label": answers[question["question_id"]].lower()})
    write(folder / "llava_pope_test.jsonl", lines(row for split in SPLITS for row in asked[split]))
    for split in SPLITS:
        write(folder / "coco" / f"coco_pope_{split}.json", lines(labels[split]))


def make_vqav2(folder, questions, answers):
    """LLaVA's question file, and the annotations of the official evaluation."""
    asked, annotations = [], []
    for question in questions:
        _, question_type, answer_type = next(one for one in OPEN if question["text"].startswith(one[0]))
        answer = answers[question["question_id"]]
        asked.append({key: question[key] for key in ("question_id", "image", "text")} | {"category": "default"})
        annotations.append({
            "question_type": question_type, "multiple_choice_answer": answer,
            "answers": [{"answer": answer, "answer_confidence": "yes", "answer_id": n} for n in range(1, 11)],
            "image_id": int(pathlib.Path(question["image"]).stem), "answer_type": answer_type,
            "question_id": question["question_id"]})
    write(folder / "llava_vqav2_digitgrid_val.jsonl", lines(asked))
    head = {"info": {"description": "DigitGrid in VQAv2's format", "version": "1.0"}, "license": {"name": "MIT"},
            "data_subtype": "val", "data_type": "digitgrid"}
    rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in annotations)
    write(folder / "v2_digitgrid_val_annotations.json", json.dumps(head)[:-1] + ', "annotations": [\n' + rows + "\n]}\n")


def rotated(options, by):
    return options[by:] + options[:by]


def make_mmbench(folder, questions, answers, images):
    """One TSV: the main rows first, then the rotations."""
    rows = []
    for by in range(len(LETTERS)):
        for question in questions:
            text, *choices = question["text"].split("\n")
            options = [choice.removeprefix(f"{letter}. ") for letter, choice in zip(LETTERS, choices, strict=True)]
            right = options[LETTERS.index(answers[question["question_id"]])]
            options = rotated(options, by)
            kind = "color_recognition" if text.startswith("Which color") else "digit_recognition"
            picture = str(question["question_id"])
            if by == 0:
                picture = base64.b64encode((images / question["image"]).read_bytes()).decode()
            rows.append((str(question["question_id"] + by * ROTATION), text, "", *options, LETTERS[options.index(right)], kind,
                         picture, "digitgrid", "finegrained_perception", "", "dev"))
    write(folder / "mmbench_dev_digitgrid.tsv", "".join("\t".join(row) + "\n" for row in (TSV, *rows)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, default=HERE / "data" / "test")
    parser.add_argument("--output", type=pathlib.Path, default=HERE / "data" / "benchmarks")
    options = parser.parse_args()
    questions = json_lines(options.data / "questions.jsonl")
    answers = {row["question_id"]: row["text"] for row in json_lines(options.data / "answers.jsonl")}
    kinds = collections.defaultdict(list)
    for question in questions:
        kinds["open" if question["category"] in ("location", "count", "color") else question["category"]].append(question)
    make_pope(options.output / "pope", kinds["exist"], answers)
    make_vqav2(options.output / "vqav2", kinds["open"], answers)
    make_mmbench(options.output / "mmbench", kinds["choice"][:GROUPS], answers, options.data / "images")


if __name__ == "__main__":
    main()
