"""Where a benchmark's files lie, and answers to its questions."""
import dataclasses
import json
import pathlib

SHORT = "\nAnswer the question using a single word or phrase."
LETTER = "\nAnswer with the option's letter from the given choices directly."


@dataclasses.dataclass
class Question:
    """What was asked: the id and the prompt as an answers file holds them, and what a random answer needs to come near."""
    id: object
    prompt: str
    correct: list = dataclasses.field(default_factory=list)
    options: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Files:
    """The flags of `yopo eval`: --questions, --annotations (comma-separated), --images."""
    benchmark: str
    questions: pathlib.Path = None
    annotations: list = dataclasses.field(default_factory=list)
    images: pathlib.Path = None
    asked: list = dataclasses.field(default_factory=list)

    def flags(self):
        flags = ["--benchmark", self.benchmark]
        if self.questions:
            flags += ["--questions", self.questions]
        if self.annotations:
            flags += ["--annotations", ",".join(map(str, self.annotations))]
        if self.images:
            flags += ["--images", self.images]
        return flags


def answer(question, text, **more):
    """A line of answers.jsonl as LLaVA writes it."""
    return {"question_id": question.id, "prompt": question.prompt, "text": text, "answer_id": f"{question.id}",
            "model_id": "test",
            "metadata": {}, **more}


def answers(questions, texts):
    assert len(questions) == len(texts), (len(questions), len(texts))
    return [answer(question, text) for question, text in zip(questions, texts)]


def write_answers(path, rows):
    """As LLaVA writes them: everything beyond ASCII escaped."""
    return write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def write_text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8"))
    return path


def write_json(path, value):
    return write_text(path, json.dumps(value, ensure_ascii=False))


def write_json_lines(path, rows):
    return write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
