"""Small tokenizers of each family's kind, trained here, in the files that published checkpoints have."""

import json
import pathlib
import random

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import LlamaTokenizer, LlamaTokenizerFast, PreTrainedTokenizerFast, Qwen2TokenizerFast

from tokenizer_texts import corpus

QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_TOKENS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
]
INTERNVL_TOKENS = ["<img>", "</img>", "<IMG_CONTEXT>", "<quad>", "</quad>", "<ref>", "</ref>", "<box>", "</box>"]
PHI3_TOKENS = ["<|endoftext|>", "<|assistant|>", "<|placeholder1|>", "<|system|>", "<|end|>", "<|user|>"]
PIECES = 1500


def flags(content, **changed):
    return {
        "content": content, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
        "special": True, **changed,
    }


class InternLM2Tokenizer(LlamaTokenizer):
    """The published class is no part of transformers: its encoding is that of LlamaTokenizer with legacy=True, its decoding
    is given here as it is documented."""

    def convert_tokens_to_string(self, tokens):
        text, waiting, special = "", [], False
        for token in tokens:
            if token in self.all_special_tokens:
                text += ("" if special else " ") + self.sp_model.decode(waiting) + token
                waiting, special = [], True
            else:
                waiting.append(token)
                special = False
        return self.clean_up_tokenization(text + self.sp_model.decode(waiting))


class Kinds:
    """Trains both models once. Each public method writes a folder and returns it with its reference and the special tokens
    to put into texts."""

    def __init__(self, root):
        self.root = pathlib.Path(root)
        self.lines = corpus(random.Random(11), 3000)
        self.sentencepiece = self._train_sentencepiece()
        self.byte_level = self._train_byte_level()

    def _train_sentencepiece(self):
        text, prefix = self.root / "corpus.txt", self.root / "sentencepiece"
        text.write_text("\n".join(self.lines), encoding="utf-8")
        sentencepiece.SentencePieceTrainer.train(
            input=str(text),
            model_prefix=str(prefix),
            vocab_size=PIECES,
            model_type="bpe",
            byte_fallback=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            split_digits=True,
            character_coverage=0.98,
            allow_whitespace_only_pieces=True,
            num_threads=1,
            minloglevel=2,
        )
        return prefix.with_suffix(".model").read_bytes()

    def _train_byte_level(self):
        tokenizer = Tokenizer(models.BPE())
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(QWEN2_PATTERN), "isolated", invert=False),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
        tokenizer.train_from_iterator(
            self.lines,
            trainers.BpeTrainer(vocab_size=2000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False),
        )
        return tokenizer

    def _folder(self, name, files, model=False):
        folder = self.root / name
        folder.mkdir()
        if model:
            (folder / "tokenizer.model").write_bytes(self.sentencepiece)
        for file, content in files.items():
            (folder / file).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return folder

    def _qwen2_config(self, **changed):
        size = self.byte_level.get_vocab_size()
        return {
            "tokenizer_class": "Qwen2Tokenizer", "add_prefix_space": False, "bos_token": None,
            "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": None, "errors": "replace",
            "split_special_tokens": False,
            "additional_special_tokens": QWEN2_TOKENS[1:],
            "clean_up_tokenization_spaces": False,
            "added_tokens_decoder": {str(size + i): flags(t) for i, t in enumerate(QWEN2_TOKENS)},
            **changed,
        }

    def _byte_level_json(self):
        tokenizer = Tokenizer.from_str(self.byte_level.to_str())
        tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in QWEN2_TOKENS])
        return json.loads(tokenizer.to_str())

    def qwen2_json(self):
        content = self._byte_level_json()
        assert isinstance(content["model"]["merges"][0], list)
        folder = self._folder("qwen2_json", {"tokenizer.json": content, "tokenizer_config.json": self._qwen2_config()})
        return folder, Qwen2TokenizerFast.from_pretrained(folder), QWEN2_TOKENS

    def qwen2_ignoring_merges(self):
        """ignore_merges, merges as "a b", and added tokens that are sought in the normalised text or strip their sides."""
        content = self._byte_level_json()
        content["model"]["ignore_merges"] = True
        content["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"][:900]]
        size = len(content["model"]["vocab"]) + len(QWEN2_TOKENS)
        more = [
            flags("caf\u00e9", normalized=True, special=False),
            flags("<tool>", lstrip=True, rstrip=True, special=False),
            flags("word", single_word=True, special=False),
        ]
        content["added_tokens"] += [{"id": size + i, **token} for i, token in enumerate(more)]
        folder = self._folder("qwen2_ignoring_merges", {"tokenizer.json": content})
        return (
            folder,
            PreTrainedTokenizerFast.from_pretrained(folder),
            QWEN2_TOKENS[:3] + ["caf\u00e9", "cafe\u0301", "<tool>", "word"],
        )

    def qwen2_files(self):
        """vocab.json and merges.txt, without tokenizer.json."""
        model = json.loads(self.byte_level.to_str())["model"]
        merges = "#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in model["merges"])
        folder = self._folder(
            "qwen2_files",
            {"vocab.json": model["vocab"], "merges.txt": merges, "tokenizer_config.json": self._qwen2_config()},
        )
        return folder, Qwen2TokenizerFast.from_pretrained(folder), QWEN2_TOKENS

    def qwen2_internvl(self):
        """The same with added_tokens.json and special_tokens_map.json, and InternVL2's tokens."""
        model = json.loads(self.byte_level.to_str())["model"]
        tokens = QWEN2_TOKENS[:3] + INTERNVL_TOKENS
        config = self._qwen2_config(additional_special_tokens=tokens[1:])
        del config["added_tokens_decoder"]
        folder = self._folder(
            "qwen2_internvl",
            {
                "vocab.json": model["vocab"],
                "merges.txt": "".join(" ".join(pair) + "\r\n" for pair in model["merges"]),
                "added_tokens.json": {t: len(model["vocab"]) + i for i, t in enumerate(tokens)},
                "special_tokens_map.json": {"eos_token": "<|im_end|>", "additional_special_tokens": tokens[1:]},
                "tokenizer_config.json": config,
            },
        )
        return folder, Qwen2TokenizerFast.from_pretrained(folder), tokens

    def gpt2(self):
        """ByteLevel with its own pattern and a space in front; blanks cleaned up in decoding."""
        content = self._byte_level_json()
        content["normalizer"] = None
        content["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
        folder = self._folder(
            "gpt2",
            {
                "tokenizer.json": content,
                "tokenizer_config.json": {
                    "tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": True,
                    "clean_up_tokenization_spaces": True,
                },
            },
        )
        return folder, PreTrainedTokenizerFast.from_pretrained(folder), QWEN2_TOKENS[:3]

    def _llama_config(self, **changed):
        return {
            "tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
            "pad_token": "<unk>", "add_bos_token": True, "add_eos_token": False, "legacy": False,
            "clean_up_tokenization_spaces": False, **changed,
        }

    def _fast_form(self, name, config, added, specials):
        """The slow form's tokenizer.json as transformers writes it."""
        config = {**config, "added_tokens_decoder": added}
        slow = self._folder(name + "_slow", {"tokenizer_config.json": config}, model=True)
        LlamaTokenizerFast.from_pretrained(slow).save_pretrained(slow / "fast")
        folder = self._folder(
            name,
            {
                "tokenizer_config.json": config,
                "tokenizer.json": (slow / "fast" / "tokenizer.json").read_text(encoding="utf-8"),
            },
        )
        return folder, LlamaTokenizerFast.from_pretrained(folder), specials

    def _core(self):
        return {str(i): flags(t) for i, t in enumerate(("<unk>", "<s>", "</s>"))}

    def _llava_added(self):
        return {**self._core(), str(PIECES): flags("<image>", special=False), str(PIECES + 1): flags("<pad>")}

    def _phi3_added(self):
        """rstrip as in Phi-3's files, where </s> is no special token."""
        added = {**self._core(), "2": flags("</s>", rstrip=True, special=False)}
        return added | {str(PIECES + i): flags(t, rstrip=i > 0) for i, t in enumerate(PHI3_TOKENS)}

    def llava_json(self):
        return self._fast_form(
            "llava_json", self._llama_config(), self._llava_added(), ["<image>", "<pad>", "<s>", "</s>", "<unk>"]
        )

    def words_json(self):
        """Added tokens that are ordinary words, with every flag."""
        return self._words("words_json", legacy=False)

    def words_normalized_json(self):
        """The same, sought in a text in which blanks are marks and one more stands in front."""
        return self._words("words_normalized_json", legacy=True)

    def _words(self, name, legacy):
        words = [flags("<image>", special=False, normalized=True), flags("<left>", special=False, normalized=True, lstrip=True),
                 flags("<right>", special=False, normalized=True, rstrip=True),
                 flags("word", special=False, normalized=True, single_word=True),
                 flags("<both>", special=False, lstrip=True, rstrip=True), flags("alone", special=False, single_word=True),
                 flags("two words", special=False, normalized=True)]
        added = {**self._core(), **{str(PIECES + i): token for i, token in enumerate(words)}}
        names = [token["content"] for token in words]
        return self._fast_form(name, self._llama_config(legacy=legacy), added, names + ["words", " word ", "<image><image>", "</s>"])

    def vicuna_json(self):
        return self._fast_form(
            "vicuna_json", self._llama_config(legacy=True, add_eos_token=True), self._core(), ["<s>", "</s>", "<unk>"]
        )

    def phi3_json(self):
        """Its tokenizer_config.json turns rstrip of <|end|> off, and bos."""
        folder, _, specials = self._fast_form(
            "phi3_json", self._llama_config(), self._phi3_added(), PHI3_TOKENS + ["</s>", "<s>"]
        )
        added = {**self._phi3_added(), str(PIECES + 4): flags("<|end|>")}
        config = self._llama_config(add_bos_token=False, eos_token="<|end|>", added_tokens_decoder=added)
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        return folder, LlamaTokenizerFast.from_pretrained(folder), specials

    def vicuna(self):
        folder = self._folder("vicuna", {"tokenizer_config.json": self._llama_config(legacy=True)}, model=True)
        return folder, LlamaTokenizer.from_pretrained(folder), ["<s>", "</s>", "<unk>"]

    def llava(self):
        folder = self._folder(
            "llava", {"tokenizer_config.json": self._llama_config(added_tokens_decoder=self._llava_added())}, model=True
        )
        return folder, LlamaTokenizer.from_pretrained(folder), ["<image>", "<pad>", "<s>", "</s>", "<unk>"]

    def phi3(self):
        added = {**self._phi3_added(), **{str(PIECES + 6 + i): flags(t) for i, t in enumerate(INTERNVL_TOKENS)}}
        config = self._llama_config(
            add_bos_token=False,
            eos_token="<|endoftext|>",
            added_tokens_decoder=added,
            additional_special_tokens=INTERNVL_TOKENS,
        )
        folder = self._folder("phi3", {"tokenizer_config.json": config}, model=True)
        return folder, LlamaTokenizer.from_pretrained(folder), PHI3_TOKENS + INTERNVL_TOKENS + ["</s>"]

    def internlm2(self):
        """<|im_start|> and its like take the ids of unused pieces, as in the published vocabulary; InternVL2's follow."""
        chat = ["<|plugin|>", "<|interpreter|>", "<|action_end|>", "<|action_start|>", "<|im_end|>", "<|im_start|>"]
        added = {str(PIECES - len(chat) + i): flags(t) for i, t in enumerate(chat)}
        added |= {str(PIECES + i): flags(t) for i, t in enumerate(INTERNVL_TOKENS)}
        config = self._llama_config(
            pad_token="</s>",
            additional_special_tokens=chat + INTERNVL_TOKENS,
            added_tokens_decoder={**self._core(), **added},
        )
        config |= {
            "tokenizer_class": "InternLM2Tokenizer",
            "auto_map": {"AutoTokenizer": ["tokenization_internlm2.InternLM2Tokenizer", None]},
        }
        config["sep_token"] = "<sep>"  # without an id: the next free one
        del config["legacy"]
        folder = self._folder("internlm2", {"tokenizer_config.json": config}, model=True)
        return folder, InternLM2Tokenizer.from_pretrained(folder, legacy=True), chat + INTERNVL_TOKENS + ["<s>", "</s>", "<sep>"]
