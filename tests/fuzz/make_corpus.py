"""Writes the small seeds of the readers' fuzz targets, corpus/NAME/*: files of tests/data and examples, and some written here.

    .venv/bin/python tests/fuzz/make_corpus.py        (from the project's root; equal files stay as they are)
"""
import base64
import io
import json
import pathlib

import numpy

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA, DEMO, CORPUS = ROOT / "tests/data", ROOT / "examples/digitgrid/model", ROOT / "tests/fuzz/corpus"
PART = b"\n===\n"


def seed(target, name, *parts):
    """`parts` as the targets take them apart (fuzz_files.h)."""
    path = CORPUS / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    content = PART.join(part if isinstance(part, bytes) else part.encode() for part in parts)
    if not path.exists() or path.read_bytes() != content:
        path.write_bytes(content)


def lines(*records):
    return "\n".join(json.dumps(record) for record in records)


def images():
    for path in sorted((DATA / "images").iterdir()):
        if path.suffix in (".png", ".jpg") and ("depth8" in path.stem or "depth" not in path.stem):
            seed("image", path.name.replace(".", "_"), path.read_bytes())
    whole = (DATA / "images/grey.jpg").read_bytes()
    seed("image", "cut", whole[:len(whole) // 2])


def arrays():
    for name, array in {"bool": numpy.array([[True, False], [False, True]]), "int8": numpy.array([[1, 0]], numpy.int8),
                        "fortran": numpy.asfortranarray([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]]), "scalar": numpy.array(1),
                        "uint64": numpy.array([1, 2**64 - 1], numpy.uint64), "big": numpy.array([1, 0], ">i4")}.items():
        for version in ((1, 0), (2, 0)):
            file = io.BytesIO()
            numpy.lib.format.write_array(file, array, version=version)
            seed("npy", f"{name}_{version[0]}", file.getvalue())


def tables():
    header = "index\tquestion\thint\tA\tB\tC\tD\tanswer\tcategory\timage\tl2-category\n"
    seed("tsv", "plain", header + "1\tq\t\ta\tb\tc\td\tA\tx\t/9j/\ty\n")
    seed("tsv", "quoted", header + '1\t"q\n""two"" \tx"\t\ta\tb\tNone\td\tA\tx\t/9j/\ty\r\n\r\n2\tq\t"\n')
    seed("tsv", "marked", "\ufeffa\tb\r1\t2\r3\t")


def plans():
    for path in sorted((DATA / "plans").glob("*.plan.json")):
        if path.stat().st_size < 20_000:
            seed("plan", path.name.replace(".", "_"), path.read_bytes())
    layers = [{"window": {"size": 3, "causal": True}, "heads": [1, 1, 0, 1], "updates": [1, 0, 0, 0], "neurons": [0, 2, 5]},
              {"alive": False, "heads": [1, 1, 1, 1]}]
    seed("plan", "small", json.dumps({"format": "yopo-plan", "version": 2, "semantics": "skip", "layers": layers, "provenance": {}}))


def tokenizers():
    config = (DEMO / "tokenizer_config.json").read_bytes()
    seed("tokenizer", "demo", (DEMO / "tokenizer.json").read_bytes(), config)
    seed("tokenizer", "model", b"model\n" + (DATA / "tokenizer/tokenizer.model").read_bytes())
    letters = {one: number for number, one in enumerate(["a", "b", "ab", "\u0120", "\u0120a", "!"])}
    seed("tokenizer", "vocabulary", json.dumps(letters), json.dumps({"added_tokens_decoder": {}}),
         "#version: 0.2\na b\n\u0120 a\n")
    split = {"type": "Split", "pattern": {"Regex": "(?i:'s|'t)|\\p{L}+|\\s+(?!\\S)|\\s+"}, "behavior": "Isolated", "invert": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    seed("tokenizer", "byte_level", json.dumps({
        "version": "1.0", "added_tokens": [{"id": 6, "content": "<image>", "single_word": False, "lstrip": False, "rstrip": False,
                                            "normalized": False, "special": True}],
        "normalizer": {"type": "NFC"}, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": byte_level, "decoder": byte_level,
        "model": {"type": "BPE", "vocab": letters, "merges": ["a b", ["\u0120", "a"]]}}))


def configs():
    for path in [*sorted((DATA / "fixtures").glob("*/model/config.json")), DEMO / "config.json"]:
        name = path.parts[-3] if "fixtures" in path.parts else "demo"
        processor, template = path.with_name("preprocessor_config.json"), path.with_name("chat_template.json")
        seed("config", name, *(part.read_bytes() if part.exists() else b"" for part in (path, processor, template)))
    for path in sorted((ROOT / "configs/models").glob("*.json")):
        seed("config", path.stem, path.read_bytes())
    # As transformers 5 writes them: the image rules, and here the template, too, inside processor_config.json.
    for name in ("llava_hf", "qwen2vl"):
        model = DATA / "fixtures" / name / "model"
        rules = json.loads((model / "preprocessor_config.json").read_text())
        template = model / "chat_template.json"
        processor = {"image_processor": rules, "processor_class": "LlavaProcessor", "image_token": "<image>", "patch_size": 14,
                     "chat_template": json.loads(template.read_text())["chat_template"] if template.exists() else "{{ messages[0]['content'] }}"}
        seed("config", f"{name}_processor", (model / "config.json").read_bytes(), b"", b"", json.dumps(processor, indent=1))


def questions():
    short = "\nAnswer the question using a single word or phrase."
    one, two = ({"question_id": number, "image": "a.jpg", "text": f"Is it {number}?{short}", "category": "random"} for number in (1, 2))
    said = lines(*({"question_id": number, "prompt": f"Is it {number}?{short}", "text": "yes"} for number in (1, 2)))
    ten = [{"answer": text} for text in ["yes"] * 7 + ["Yes, it's", "no", "1,000"]]
    vqav2 = {"annotations": [{"question_id": number, "answer_type": "yes/no", "answers": ten} for number in (1, 2, 3)]}
    seed("questions", "vqa", "vqa", lines({"question_id": 1, "text": "a", "answer": "yes"}, {"question_id": 1, "text": "b", "answers": ["no"]}),
         lines({"question_id": 1, "text": "red"}, {"question_id": 1, "text": "blue"}, {"question_id": 9, "text": "x"}), said)
    seed("questions", "vqav2", "vqav2 lmms", lines(one, two), json.dumps(vqav2), said)
    seed("questions", "vqav2_official", "vqav2", json.dumps({"questions": [{"question_id": 1, "image_id": 7, "question": "What?"}],
                                                             "data_subtype": "val2014"}), json.dumps(vqav2), said)
    gqa = {str(number): {"answer": "yes", "isBalanced": number != 2, "types": {"structural": "verify"}} for number in (1, 2, 3)}
    seed("questions", "gqa", "gqa", lines(one, two), json.dumps(gqa), said)
    problems = {str(number): {"choices": ["a", "b"], "answer": 1, "hint": "", "question": "Q"} for number in (1, 2, 3)}
    asked = [{"id": str(number), "image": "a.png", "conversations": [{"from": "human", "value": "<image>\nQ"}]} for number in (1, 2)]
    seed("questions", "scienceqa", "scienceqa lmms", json.dumps(asked), json.dumps(problems), said)
    textvqa = {"data": [{"image_id": str(number), "question": f"is it {number}?", "answers": ["yes"] * 10} for number in (1, 2)]}
    seed("questions", "textvqa", "textvqa", lines(one, two), json.dumps(textvqa), said)
    labels = lines(*({"image": "a.jpg", "text": f"Is it {number}?", "label": "yes"} for number in (1, 2)))
    seed("questions", "pope", "pope", lines(one, two), labels, said)
    seed("questions", "pope_more", "pope lmms", lines(two), labels, said)
    mme = "Is it 1? Please answer yes or no.\tYes\nIs it 2?  Please answer yes or no.\tNo\n"
    names = [{**row, "question_id": "count/1.png", "text": row["text"]} for row in (one, two)]
    seed("questions", "mme", "mme", mme, "", lines(*({**row, "prompt": row["text"], "text": "yes"} for row in names)))
    seed("questions", "mme_asked", "mme lmms", mme, lines(*names), "")
    picture = base64.b64encode((DATA / "images/color0_depth1.png").read_bytes()).decode()
    table = "index\tquestion\thint\tA\tB\tC\tD\tanswer\tcategory\timage\tl2-category\n"
    rows = [f"{index}\tQ\t\tred\tblue\t\tNone\t{answer}\tx\t{image}\ty\n" for index, answer, image in
            ((1, "A", picture), (1000001, "D", "1"), (2, "B", picture))]
    seed("questions", "mmbench", "mmbench lmms", table + "".join(rows), "", said)


def journals():
    seed("journal", "two", lines({"question_id": 7, "text": "a", "metadata": {"repeat": 2}}, {"question_id": "7", "text": "b"}) + "\n")
    seed("journal", "cut", lines({"question_id": 7, "text": "a"}) + '\n{"question_id": 8, "te')
    seed("journal", "seal", "0123abcd shard 2/3\n")


def statistics():
    seed("statistics", "whole", bytes([3, 65, 66, 67, 0, 1, 1, 1, 1]) + bytes([0, 0, 0, 0, 0]) + bytes(range(1, 90)))
    seed("statistics", "zeros", bytes(8))


if __name__ == "__main__":
    for write in (images, arrays, tables, plans, tokenizers, configs, questions, journals, statistics):
        write()
