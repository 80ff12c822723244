"""Writes a small tokenizer and the image rules into a checkpoint folder that has config.json only (`yopo random`): of the family's
own kind, with its special tokens at the ids that config.json expects. It knows a few hundred English words and falls back to bytes,
so it reads any text; prompts come out somewhat longer than with the published vocabulary.

Usage: make_tokenizer.py FOLDER. Needs `tokenizers`, and `sentencepiece` for InternLM2.
"""
import io
import json
import pathlib
import sys

import tokenizers

PIECES = 1500  # learnt pieces at most; the text below has no more to teach
CLIP = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}

QWEN2_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
                "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
                "<|image_pad|>", "<|video_pad|>"]
CODE_TOKENS = ["<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>",
               "<|file_sep|>"]
THOUGHT_TOKENS = ["<tool_response>", "</tool_response>", "<think>", "</think>"]  # Qwen3's
INTERNVL_TOKENS = ["<img>", "</img>", "<IMG_CONTEXT>", "<quad>", "</quad>", "<ref>", "</ref>", "<box>", "</box>"]

SUBJECTS = ["man", "woman", "child", "dog", "cat", "horse", "bird", "bus", "train", "bicycle", "table", "building", "sign", "boat"]
PLACES = ["street", "kitchen", "park", "beach", "station", "garden", "bridge", "market", "field", "room", "river", "harbour"]
COLORS = ["red", "green", "blue", "yellow", "white", "black", "brown", "grey", "orange", "purple"]
VERBS = ["standing", "sitting", "walking", "running", "waiting", "playing", "looking", "sleeping", "holding", "wearing"]
SENTENCES = [
    "A chat between a curious user and an artificial intelligence assistant.",
    "The assistant gives helpful, detailed, and polite answers to the user's questions.",
    "You are a helpful assistant.", "USER: ", " ASSISTANT:", "system", "user", "assistant",
    "Answer the question using a single word or phrase.",
    "Answer with the option's letter from the given choices directly.",
    "What is in the image?", "What color is it?", "How many are there?", "Where is it?", "Is there one in the picture?",
    "Describe the image in detail.", "What is written on it?", "Which one is larger, the left or the right?",
    "Yes, there is.", "No, there is none.", "It is on the left side.", "There are two of them in front of the house.",
    "0 1 2 3 4 5 6 7 8 9 10 12 15 20 24 32 48 64 100 128 256 512 1024 2024",
    "The quick brown fox jumps over the lazy dog.", "Who, when, why, which, whose, whom, how much, how long, how far?",
]


def text():
    lines = list(SENTENCES)
    for i, subject in enumerate(SUBJECTS):
        for j, place in enumerate(PLACES):
            color, verb = COLORS[(i + 3 * j) % len(COLORS)], VERBS[(3 * i + j) % len(VERBS)]
            lines += [f"A {color} {subject} is {verb} near the {place}.", f"What is the {subject} {verb} in the {place} doing?",
                      f"Is the {subject} in the {place} {color}?", f"How many {color} {subject}s can be seen in the {place}?"]
    return lines


def added(token, id):
    return {"id": id, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}


def learn(pre_tokenizer, alphabet, mark=False):
    """Merges as pairs, most frequent first, of a BPE model of the text, and the characters they start from."""
    learner = tokenizers.Tokenizer(tokenizers.models.BPE())
    if mark:
        learner.normalizer = tokenizers.normalizers.Sequence(
            [tokenizers.normalizers.Prepend("\u2581"), tokenizers.normalizers.Replace(" ", "\u2581")])
    learner.pre_tokenizer = pre_tokenizer
    learner.train_from_iterator(text(), tokenizers.trainers.BpeTrainer(
        vocab_size=PIECES, initial_alphabet=alphabet, show_progress=False))
    model = json.loads(learner.to_str())["model"]
    pieces = sorted(model["vocab"], key=model["vocab"].get)
    return pieces, [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in model["merges"]]


def assemble(first, pieces, merges, size):
    """A vocabulary of `size` entries: `first`, then the pieces, then names that no text contains."""
    names = list(first) + [p for p in pieces if p not in set(first)]
    if len(names) > size:
        sys.exit(f"make_tokenizer.py: the special tokens start at id {size}, the pieces in front of them need {len(names)}")
    names += [f"<unused_{i}>" for i in range(len(names), size)]
    return {name: i for i, name in enumerate(names)}, [list(m) for m in merges]


def llama_json(size, specials):
    """tokenizer.json of the LLaMA kind: spaces as U+2581, bytes for what no piece covers; `specials` by id from `size` on."""
    mark = "\u2581"
    pieces, merges = learn(tokenizers.pre_tokenizers.Split(mark, "merged_with_next"), [], mark=True)
    start = ["<unk>", "<s>", "</s>"]
    vocab, merges = assemble(start + [f"<0x{i:02X}>" for i in range(256)], pieces, merges, size)
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [added(t, i) for i, t in enumerate(start)] + [added(t, i) for t, i in specials],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": mark},
                                                           {"type": "Replace", "pattern": {"String": " "}, "content": mark}]},
        "pre_tokenizer": None,
        "post_processor": {"type": "TemplateProcessing",
                           "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                           "pair": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                                    {"SpecialToken": {"id": "<s>", "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}],
                           "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": mark}, "content": " "},
                                                     {"type": "ByteFallback"}, {"type": "Fuse"},
                                                     {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                  "vocab": vocab, "merges": merges},
    }


def qwen_json(size, specials):
    """tokenizer.json of the byte-level kind with Qwen2's pre-tokenizer; `specials` by id from `size` on."""
    pattern = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    split = tokenizers.pre_tokenizers.Sequence([
        tokenizers.pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated"),
        tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    pieces, merges = learn(split, alphabet)
    vocab, merges = assemble([], pieces, merges, size)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [added(t, i) for t, i in specials],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}, byte_level]},
        "post_processor": byte_level, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "",
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": vocab, "merges": merges},
    }


def sentencepiece_model():
    """Bytes of a small tokenizer.model of InternLM2's kind. Ids between its pieces and the special tokens have no text."""
    import sentencepiece
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text()), model_writer=model, model_type="bpe", vocab_size=PIECES, byte_fallback=True,
        character_coverage=1.0, split_digits=True, allow_whitespace_only_pieces=True, remove_extra_whitespaces=False,
        normalization_rule_name="identity", unk_id=0, bos_id=1, eos_id=2, pad_id=-1, num_threads=1, hard_vocab_limit=False,
        minloglevel=2)
    return model.getvalue()


def numbered(names, first):
    return [(name, first + i) for i, name in enumerate(names)]


def tokenizer_config(kind, specials, **more):
    return {"tokenizer_class": kind, "added_tokens_decoder": {
        str(i): {k: v for k, v in added(t, i).items() if k != "id"} for t, i in specials}, **more}


def llava(folder, config):
    original = config["architectures"] == ["LlavaLlamaForCausalLM"]
    size = (config if original else config["text_config"])["vocab_size"]
    first = size if original else config.get("image_token_index", config.get("image_token_id", 32000))
    specials = [] if original else numbered(["<image>", "<pad>"][:size - first], first)
    write(folder, "tokenizer.json", llama_json(first, specials))
    write(folder, "tokenizer_config.json", tokenizer_config(
        "LlamaTokenizer", numbered(["<unk>", "<s>", "</s>"], 0) + specials, legacy=False, add_bos_token=True, add_eos_token=False,
        bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>" if len(specials) > 1 else "</s>"))
    side = config.get("vision_config", {}).get("image_size", 336)
    kind = {"image_processor_type": "CLIPImageProcessor"}
    if "image_grid_pinpoints" in config:
        kind = {"image_processor_type": "LlavaNextImageProcessor", "image_grid_pinpoints": config["image_grid_pinpoints"]}
    write(folder, "preprocessor_config.json", {
        **kind, "do_resize": True, "size": {"shortest_edge": side}, "resample": 3,
        "do_center_crop": True, "crop_size": {"height": side, "width": side}, "do_rescale": True, "rescale_factor": 1 / 255,
        "do_normalize": True, **CLIP})


def qwen_tokenizer(folder, specials, **named):
    """`named`: tokens that a processor of transformers asks the tokenizer for."""
    write(folder, "tokenizer.json", qwen_json(specials[0][1], specials))
    write(folder, "tokenizer_config.json", tokenizer_config(
        "Qwen2Tokenizer", specials, add_bos_token=False, add_prefix_space=False, bos_token=None, eos_token="<|im_end|>",
        pad_token="<|endoftext|>", unk_token=None, errors="replace", split_special_tokens=False,
        **({"extra_special_tokens": named} if named else {})))


def llava_onevision(folder, config):
    specials = numbered(QWEN2_TOKENS[:3] + ["<image>", "<video>"], config["image_token_index"] - 3)
    qwen_tokenizer(folder, specials)
    side = config["vision_config"]["image_size"]
    rules = {"image_processor_type": "LlavaOnevisionImageProcessor", "size": {"height": side, "width": side},
             "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    if "image_grid_pinpoints" in config:
        rules["image_grid_pinpoints"] = config["image_grid_pinpoints"]
    write(folder, "preprocessor_config.json", rules)


def qwen2_vl(folder, config):
    names = QWEN2_TOKENS
    specials = numbered(names, config["image_token_id"] - names.index("<|image_pad|>"))
    ids = dict(specials)
    for key, name in (("vision_start_token_id", "<|vision_start|>"), ("vision_end_token_id", "<|vision_end|>"),
                      ("video_token_id", "<|video_pad|>"), ("eos_token_id", "<|im_end|>")):
        if config.get(key, ids[name]) != ids[name]:
            sys.exit(f"make_tokenizer.py: config.json: {key}: expected {ids[name]} beside image_token_id "
                     f"{config['image_token_id']}, found {config[key]}")
    qwen_tokenizer(folder, specials)
    vision = config["vision_config"]
    rules = {"image_processor_type": "Qwen2VLImageProcessor", "min_pixels": 3136, "max_pixels": 12845056, **CLIP}
    if config["architectures"] == ["Qwen3VLForConditionalGeneration"]:
        rules = {"image_processor_type": "Qwen2VLImageProcessorFast", "size": {"shortest_edge": 65536, "longest_edge": 16777216},
                 "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    write(folder, "preprocessor_config.json", {
        **rules, "patch_size": vision["patch_size"], "temporal_patch_size": vision["temporal_patch_size"],
        "merge_size": vision["spatial_merge_size"]})


def internvl3_tokens(language):
    """Of InternVL with Qwen2 or Qwen3, "<|endoftext|>" first."""
    return QWEN2_TOKENS + CODE_TOKENS + (THOUGHT_TOKENS if language == "qwen3" else []) + INTERNVL_TOKENS


def internvl3_hf(folder, config):
    names = internvl3_tokens(config["text_config"]["model_type"]) + ["<video>"]
    specials = numbered(names, config["image_token_id"] - names.index("<IMG_CONTEXT>"))
    qwen_tokenizer(folder, specials, start_image_token="<img>", end_image_token="</img>", context_image_token="<IMG_CONTEXT>",
                   video_token="<video>")
    side = config["vision_config"].get("image_size", 448)
    height, width = side if isinstance(side, list) else (side, side)
    write(folder, "preprocessor_config.json", {
        "image_processor_type": "GotOcr2ImageProcessorFast", "size": {"height": height, "width": width}, "min_patches": 1,
        "max_patches": 12, **IMAGENET})


def internvl(folder, config):
    llm = config["llm_config"]
    image = INTERNVL_TOKENS
    basic = numbered(["<unk>", "<s>", "</s>"], 0)
    common = {"add_bos_token": True, "add_eos_token": False, "bos_token": "<s>", "unk_token": "<unk>", "pad_token": "</s>"}
    if llm["architectures"] == ["Phi3ForCausalLM"]:
        own = ["<|endoftext|>", "<|assistant|>", "<|placeholder1|>", "<|placeholder2|>", "<|placeholder3|>", "<|placeholder4|>",
               "<|system|>", "<|end|>", "<|placeholder5|>", "<|placeholder6|>", "<|user|>"]
        specials = numbered(own + image, llm["vocab_size"] - len(own + image))
        write(folder, "tokenizer.json", llama_json(specials[0][1], specials))
        write(folder, "tokenizer_config.json", tokenizer_config(
            "LlamaTokenizer", basic + specials, legacy=False, eos_token="<|endoftext|>", **common))
    elif llm["architectures"] != ["InternLM2ForCausalLM"]:
        qwen_tokenizer(folder, numbered(internvl3_tokens(llm["model_type"]), llm["bos_token_id"]))
    else:
        own = ["<|plugin|>", "<|interpreter|>", "<|action_end|>", "<|action_start|>", "<|im_end|>", "<|im_start|>"]
        specials = numbered(own + image, llm["vocab_size"] - len(own + image))
        (folder / "tokenizer.model").write_bytes(sentencepiece_model())
        write(folder, "tokenizer_config.json", tokenizer_config(
            "InternLM2Tokenizer", basic + specials, eos_token="</s>",
            additional_special_tokens=[t for t, _ in specials], **common))
    side = config.get("force_image_size") or config["vision_config"]["image_size"]
    write(folder, "preprocessor_config.json", {
        "crop_size": side, "do_center_crop": True, "do_normalize": True, "do_resize": True,
        "feature_extractor_type": "CLIPFeatureExtractor", "resample": 3, "size": side, **IMAGENET})


def write(folder, name, value):
    (folder / name).write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


FAMILIES = {"LlavaForConditionalGeneration": llava, "LlavaLlamaForCausalLM": llava,
            "LlavaNextForConditionalGeneration": llava, "LlavaOnevisionForConditionalGeneration": llava_onevision,
            "Qwen2VLForConditionalGeneration": qwen2_vl, "Qwen2_5_VLForConditionalGeneration": qwen2_vl,
            "Qwen3VLForConditionalGeneration": qwen2_vl, "InternVLChatModel": internvl,
            "InternVLForConditionalGeneration": internvl3_hf}


def make_tokenizer(folder):
    """Writes the tokenizer's files and preprocessor_config.json beside `folder`/config.json."""
    folder = pathlib.Path(folder)
    config = json.loads((folder / "config.json").read_text())
    (architecture,) = config["architectures"]
    if architecture not in FAMILIES:
        sys.exit(f"make_tokenizer.py: {folder / 'config.json'}: no tokenizer for {architecture}; known: {', '.join(FAMILIES)}")
    FAMILIES[architecture](folder, config)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    make_tokenizer(sys.argv[1])
