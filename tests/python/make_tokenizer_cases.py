"""Reference ids of the `tokenizers` and `transformers` packages: what tests/data/tokenizer was made with.

make_tokenizer_cases.py make REPOSITORY FOLDER      trains the small sentencepiece model, writes FOLDER/*.json
make_tokenizer_cases.py random KIND COUNT SEED REPOSITORY FOLDER OUT    one fresh comparison: OUT/tokenizer files and cases.json

Versions used: tokenizers 0.22.2, transformers 4.57.1, sentencepiece 0.2.3.
"""
import json
import os
import random
import shutil
import sys
import tempfile

MARK = "\u2581"
FLAGS = dict(lstrip=False, rstrip=False, single_word=False, normalized=False, special=False)

# tokenizer.json variants: RFC 7386 merge patches over the demo model's file ("+added": further added tokens).
METASPACE = {"type": "Metaspace", "replacement": MARK}
META_DECODER = {"type": "Metaspace", "replacement": MARK, "prepend_scheme": "first", "split": False}
SOME_BYTES = {"<0xC3>": None, "<c3>": 198, "<0xF0>": None, "<f0>": 243}
VARIANTS = {
    "demo": {},
    "metaspace_first": {"normalizer": None, "pre_tokenizer": {**METASPACE, "prepend_scheme": "first", "split": False},
                        "decoder": META_DECODER},
    "metaspace_always_split": {"normalizer": None, "pre_tokenizer": {**METASPACE, "prepend_scheme": "always", "split": True},
                               "decoder": {**META_DECODER, "prepend_scheme": "always"}},
    "metaspace_never": {"normalizer": None, "pre_tokenizer": {**METASPACE, "prepend_scheme": "never", "split": True},
                        "decoder": {**META_DECODER, "prepend_scheme": "never"}},
    "metaspace_old": {"normalizer": None, "pre_tokenizer": {**METASPACE, "add_prefix_space": True}, "decoder": None,
                      "post_processor": None},
    "unknown": {"model": {"byte_fallback": False}},
    "unknown_unfused": {"model": {"byte_fallback": False, "fuse_unk": False}},
    "unknown_dropped": {"model": {"byte_fallback": False, "unk_token": None}},
    "some_bytes": {"model": {"vocab": SOME_BYTES}},
    "some_bytes_unfused": {"model": {"fuse_unk": False, "vocab": SOME_BYTES}},
    "ignore_merges": {"model": {"ignore_merges": True, "merges": []}, "pre_tokenizer": {**METASPACE, "prepend_scheme": "always"}},
    "string_merges": {"model": {"merges": "strings"}},
    "added": {"+added": [
        dict(FLAGS, id=432, content="<left>", lstrip=True), dict(FLAGS, id=433, content="<right>", rstrip=True),
        dict(FLAGS, id=434, content="word", single_word=True), dict(FLAGS, id=435, content="is there", normalized=True),
        dict(FLAGS, id=436, content="<left>x", lstrip=True, rstrip=True), dict(FLAGS, id=437, content="\u00e9t\u00e9", single_word=True,
                                                                           lstrip=True, rstrip=True),
        dict(FLAGS, id=438, content="the", normalized=True, single_word=True)]},
    "added_metaspace": {"normalizer": {"type": "Replace", "pattern": {"String": "!!"}, "content": "?"},
                        "pre_tokenizer": {**METASPACE, "prepend_scheme": "always"}, "decoder": META_DECODER, "+added": [
        dict(FLAGS, id=432, content="color", normalized=True), dict(FLAGS, id=433, content="wow!!", normalized=True),
        dict(FLAGS, id=434, content="<sep>", special=True)]},
    "added_first": {"normalizer": None, "pre_tokenizer": {**METASPACE, "prepend_scheme": "first"}, "decoder": META_DECODER,
                    "+added": [dict(FLAGS, id=432, content="color", normalized=True),
                               dict(FLAGS, id=433, content="<left>", lstrip=True), dict(FLAGS, id=434, content="<sep>", special=True)]},
    "bos_eos": {"post_processor": {"type": "TemplateProcessing", "single": [
        {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "</s>", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}, "</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}}}},
}
LLAMA = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
CORE = {str(i): dict(FLAGS, content=c, special=True) for i, c in enumerate(("<unk>", "<s>", "</s>"))}
# tokenizer_config.json (and added_tokens.json, special_tokens_map.json) over the trained sentencepiece model of 500 pieces.
SENTENCEPIECE = {
    "legacy": {"tokenizer_config.json": LLAMA},
    "plain": {},
    "modern": {"tokenizer_config.json": {**LLAMA, "legacy": False, "add_bos_token": True, "added_tokens_decoder": CORE}},
    "modern_image": {"tokenizer_config.json": {**LLAMA, "legacy": False, "pad_token": "<pad>", "added_tokens_decoder": {
        **CORE, "500": dict(FLAGS, content="<image>"), "501": dict(FLAGS, content="<pad>", special=True)}}},
    "modern_no_prefix": {"tokenizer_config.json": {**LLAMA, "legacy": False, "add_prefix_space": False, "add_eos_token": True,
                                                   "added_tokens_decoder": CORE}},
    "legacy_files": {"tokenizer_config.json": {**LLAMA, "legacy": True, "add_bos_token": False},
                     "special_tokens_map.json": {"pad_token": "<pad>", "additional_special_tokens": ["<image>"]},
                     "added_tokens.json": {"<pad>": 500, "<image>": 501, "<x>": 502}},
    "legacy_flags": {"tokenizer_config.json": {**LLAMA, "added_tokens_decoder": {
        **CORE, "500": dict(FLAGS, content="<left>", lstrip=True), "501": dict(FLAGS, content="<right>", rstrip=True),
        "502": dict(FLAGS, content="word", single_word=True), "503": dict(FLAGS, content="<left>x", lstrip=True, rstrip=True, single_word=True)}}},
    "new_special": {"tokenizer_config.json": {**LLAMA, "pad_token": "<pad>", "additional_special_tokens": ["<image>", "\u2581the"]}},
}
PIECES = ["the", "The", " is", "is there", "color", "digit", "row 2, column 3", "USER: ", " ASSISTANT:", "\n", "\n\n", " ", "  ", "    ",
          "\t", "\r\n", "\u00a0", "\u3000", "\u2003", "\x1c", "<image>", "<pad>", "<s>", "</s>", "<unk>", "<image", "image>", "<<image>>", "<left>",
          "<left>x", "<right>", "word", "words", "sword", "\u00e9t\u00e9", "wow!!", "!!", "<sep>", "<x>", "<0x0A>", "<0xZZ>", MARK, MARK + MARK,
          MARK + "the", "\u00e9", "e\u0301", "\u00df", "\u4e2d\u6587", "\u0440\u0443\u0441", "\U0001f600", "\U0001f469\u200d\U0001f467", "\ufeff", "\u200d", "\x00", "\x01", "\x7f", "\ufffd", "0", "1999",
          "3.14", "?", "!", "...", "_", "-", "'s", "\"", "{}", "a", "B", "zz", "Is there a 6 in the image?"]


def random_text(rng):
    parts = []
    for _ in range(rng.randint(0, 12)):
        kind = rng.random()
        if kind < 0.75:
            parts.append(rng.choice(PIECES))
        elif kind < 0.9:
            parts.append("".join(rng.choice("abcdefghijklmnopqrstuvwxyzABC 0123456789") for _ in range(rng.randint(1, 6))))
        else:
            low, high = rng.choice([(1, 0x7F), (0x80, 0x2FF), (0x2000, 0x25FF), (0x4E00, 0x4FFF), (0x1F300, 0x1FAFF)])
            parts.append(chr(rng.randint(low, high)))
        if rng.random() < 0.3:
            parts.append(" ")
    return "".join(parts)


def merge_patch(target, patch):
    if not isinstance(patch, dict):
        return patch
    out = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None and key not in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
            out.pop(key, None)
        else:
            out[key] = merge_patch(out.get(key), value) if isinstance(value, dict) and "type" not in value else value
    return out


def variant_file(demo, patch):
    patch = dict(patch)
    added = patch.pop("+added", [])
    if patch.get("model", {}).get("merges") == "strings":
        patch["model"] = dict(patch["model"], merges=[" ".join(pair) for pair in demo["model"]["merges"]])
    out = merge_patch(demo, patch)
    out["added_tokens"] = out["added_tokens"] + added
    return out


def random_ids(rng, count):
    return [rng.randrange(count) for _ in range(rng.randint(0, 10))]


def bpe_cases(file, texts, rng):
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_str(json.dumps(file))
    for text in texts:
        ids = tokenizer.encode(text).ids
        given = ids if rng.random() < 0.6 else random_ids(rng, 436)
        yield {"text": text, "ids": ids, "plain": tokenizer.encode(text, add_special_tokens=False).ids, "given": given,
               "decoded": tokenizer.decode(given), "decoded_all": tokenizer.decode(given, skip_special_tokens=False)}


def llama_cases(folder, texts, rng):
    from transformers import LlamaTokenizer
    tokenizer = LlamaTokenizer.from_pretrained(folder)
    for text in texts:
        ids = tokenizer(text).input_ids
        given = ids if rng.random() < 0.6 else random_ids(rng, 500)
        yield {"text": text, "ids": ids, "plain": tokenizer(text, add_special_tokens=False).input_ids, "given": given,
               "decoded": tokenizer.decode(given, skip_special_tokens=True), "decoded_all": tokenizer.decode(given)}


SYSTEM = ("A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and "
          "polite answers to the user's questions. ")


def prompt_cases(folder, texts):
    """Prompts of the original LLaVA: the parts around <image> tokenised one by one, one bos, -200 for the image."""
    from transformers import LlamaTokenizer
    tokenizer = LlamaTokenizer.from_pretrained(folder)
    for text in texts:
        for images in (0, 1, 2):
            prompt = f"{SYSTEM}USER: {'<image>' + chr(10) if images else ''}{'<image>' + chr(10) if images > 1 else ''}{text} ASSISTANT:"
            ids = []
            for k, part in enumerate(prompt.split("<image>")):
                chunk = tokenizer(part).input_ids
                has_bos = bool(chunk) and chunk[0] == tokenizer.bos_token_id
                ids += ([-200] if k else []) + (chunk[1:] if k and has_bos else chunk)
            yield {"text": text, "images": images, "ids": ids}


def processor_cases(demo):
    """Ids and some pixels of the demo model's own processor, the slow one."""
    import numpy as np
    from PIL import Image
    from transformers import AutoProcessor
    processor = AutoProcessor.from_pretrained(demo + "/model", use_fast=False)
    with open(demo + "/data/test/questions.jsonl", encoding="utf-8") as file:
        questions = [json.loads(line) for line in file][::170]
    for question in questions:
        image = Image.open(f"{demo}/data/test/images/{question['image']}").convert("RGB")
        prompt = f"USER: <image>\n{question['text']} ASSISTANT:"
        made = processor(text=prompt, images=image, return_tensors="np")
        yield {"text": question["text"], "image": question["image"], "ids": made["input_ids"][0].tolist(),
               "every_97th_pixel": np.ravel(made["pixel_values"][0])[::97].tolist()}


def train(repository, path):
    import sentencepiece
    lines = []
    for name in ("README.md", "make_data.py", "train.py", "net.py", "data/calib/questions.jsonl"):
        with open(os.path.join(repository, "examples/digitgrid", name), encoding="utf-8") as file:
            lines += [line.rstrip("\n") for line in file][:400]
    with tempfile.TemporaryDirectory() as folder:
        with open(folder + "/corpus.txt", "w", encoding="utf-8") as file:
            file.write("\n".join(lines))
        back = os.getcwd()
        os.chdir(folder)  # the model keeps the names it was trained with
        sentencepiece.SentencePieceTrainer.train(
            input="corpus.txt", model_prefix="m", vocab_size=500, model_type="bpe", byte_fallback=True,
            normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True, character_coverage=0.999,
            allow_whitespace_only_pieces=True, num_threads=1, minloglevel=2)
        os.chdir(back)
        shutil.copy(folder + "/m.model", path)


def llama_folder(files, model, folder):
    os.makedirs(folder, exist_ok=True)
    shutil.copy(model, folder + "/tokenizer.model")
    for name, content in files.items():
        with open(f"{folder}/{name}", "w", encoding="utf-8") as file:
            json.dump(content, file)
    return folder


def dump(path, variants):
    with open(path, "w", encoding="utf-8") as file:
        file.write("{\n" + ",\n".join(
            f" {json.dumps(name)}: {{\"setup\": {json.dumps(setup)}, \"cases\": [\n  " +
            ",\n  ".join(json.dumps(case) for case in cases) + "]}" for name, setup, cases in variants) + "\n}\n")


if __name__ == "__main__":
    if sys.argv[1] == "make":
        repository, out = sys.argv[2:4]
        demo = json.load(open(repository + "/examples/digitgrid/model/tokenizer.json", encoding="utf-8"))
        rng = random.Random(5)
        fixed = ["", " ", "a", " a", "a ", "<image>", "USER: <image>\nIs there a 6 in the image? ASSISTANT:", "</s>a", "</s> a", "<s>", MARK]
        dump(out + "/bpe_cases.json", [
            (name, patch, list(bpe_cases(variant_file(demo, patch), fixed + [random_text(rng) for _ in range(20)], rng)))
            for name, patch in VARIANTS.items()])
        model = out + "/tokenizer.model"
        train(repository, model)
        with tempfile.TemporaryDirectory() as folder:
            dump(out + "/sentencepiece_cases.json", [
                (name, files, list(llama_cases(llama_folder(files, model, f"{folder}/{name}"),
                                               fixed + [random_text(rng) for _ in range(25)], rng)))
                for name, files in SENTENCEPIECE.items()])
            with open(out + "/processor_cases.json", "w", encoding="utf-8") as file:
                file.write("[\n" + ",\n".join(json.dumps(c) for c in processor_cases(repository + "/examples/digitgrid")) + "\n]\n")
            dump(out + "/prompt_cases.json", [
                (name, SENTENCEPIECE[name], list(prompt_cases(f"{folder}/{name}", ["What is it?", "", " two\nlines "])))
                for name in ("legacy", "modern")])
    else:
        kind, count, seed, repository, data, out = sys.argv[2:8]
        rng = random.Random(int(seed))
        texts = [random_text(rng) for _ in range(int(count))]
        os.makedirs(out, exist_ok=True)
        if kind in VARIANTS:
            demo = json.load(open(repository + "/examples/digitgrid/model/tokenizer.json", encoding="utf-8"))
            file = variant_file(demo, VARIANTS[kind])
            json.dump(file, open(out + "/tokenizer.json", "w"))
            cases = bpe_cases(file, texts, rng)
        else:
            cases = llama_cases(llama_folder(SENTENCEPIECE[kind], data + "/tokenizer.model", out), texts, rng)
        with open(out + "/cases.jsonl", "w") as file:
            file.writelines(json.dumps(case) + "\n" for case in cases)
