"""Files made to cost more than they should: sizes that are claimed, contents that unfold, patterns that never end, links that lead
elsewhere. Each is refused with one message in a moment and little memory, or read rightly."""
import base64
import json
import resource
import shutil
import struct
import unittest
import zipfile
import zlib

import h5py
import numpy

from refusals import IMAGE, BadInput
from support import MODEL, ROOT

SECONDS = 60  # of the processor: a moment, but under sanitizers, too
BOMB = 300 << 20  # bytes that what is small here would unfold to


class BombCase(BadInput):
    def bomb(self, *arguments, naming, may_leave=(), seconds=SECONDS):
        """Refused, within a moment of the processor."""
        def prepare():
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        return self.refused(*arguments, naming=naming, may_leave=may_leave, preexec_fn=prepare)

    def model(self):
        folder = self.folder / "model"
        if not folder.exists():
            shutil.copytree(MODEL, folder)
        return folder


class ZipTest(BombCase):
    def entries(self, *entries, method=zipfile.ZIP_STORED, change=lambda data: data):
        """A model whose weights are a zip file of these entries."""
        model = self.model()
        (model / "model.safetensors").unlink(missing_ok=True)
        file = model / "pytorch_model.bin"
        with zipfile.ZipFile(file, "w", method) as archive:
            for name, data in entries:
                archive.writestr(name, data)
        file.write_bytes(change(file.read_bytes()))
        return model

    def test_compressed(self):
        model = self.entries(("m/data.pkl", bytes(BOMB)), method=zipfile.ZIP_DEFLATED)
        self.assertLess((model / "pytorch_model.bin").stat().st_size, 1 << 20)
        self.bomb("inspect", model, naming=["pytorch_model.bin", "m/data.pkl", "compressed"])

    def test_sizes_beyond_the_file(self):
        def claim(data):
            central = data.rindex(b"PK\1\2")
            return data[:central + 20] + struct.pack("<II", 0xfffffff0, 0xfffffff0) + data[central + 28:]
        self.bomb("inspect", self.entries(("m/data.pkl", b"\x80\2}."), ("m/data/0", b"1234"), change=claim), naming=["pytorch_model.bin", "m/data/0"])

    def test_names_twice(self):
        with self.assertWarns(UserWarning):
            model = self.entries(("m/data.pkl", b"\x80\2}."), ("m/data/0", b"1234"), ("m/data/0", b"5678"))
        self.bomb("inspect", model, naming=["pytorch_model.bin", "two zip entries 'm/data/0'"])

    def test_names_that_lead_out(self):
        """Nothing is ever unpacked, so such a name is one of no meaning."""
        outside = self.folder / "outside"
        model = self.entries(("m/data.pkl", b"\x80\2}."), ("../outside", b"x"), (str(outside), b"x"), ("m/data/../../../outside", b"x"))
        self.bomb("inspect", model, naming=["pytorch_model.bin"])
        self.assertFalse(outside.exists())

    def test_many_entries_in_the_same_bytes(self):
        """Every entry of the directory shows the same megabyte, as in the zip bombs that need no nesting."""
        one = bytes(1 << 20)
        def overlap(data):
            central = data.index(b"PK\1\2")
            record = data[central:data.index(b"PK\5\6")]
            names = [record.replace(b"m/data/0", b"m/data/" + bytes([65 + i])) for i in range(20)]
            directory = record + b"".join(names)
            return data[:central] + directory + struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 21, 21, len(directory), central, 0)
        self.bomb("inspect", self.entries(("m/data/0", one), change=overlap), naming=["pytorch_model.bin", "overlap"])


class WorkbookTest(BombCase):
    def test_in_the_place_of_a_table(self):
        """Workbooks are written and never read: nothing of one is unpacked, however it is made."""
        laughs = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))
        sheet = "xl/worksheets/sheet1.xml"
        outside = '<Relationships><Relationship Id="rId1" Target="../../../../etc/passwd" TargetMode="External"/></Relationships>'
        whole = {"[Content_Types].xml": "<Types/>", "xl/workbook.xml": "<workbook/>", sheet: "<worksheet/>"}
        for name, parts, share in (("plain", {}, 1), ("cut", {}, 0.5), ("zeros", {sheet: bytes(BOMB)}, 1), ("outside", {"xl/_rels/workbook.xml.rels": outside}, 1),
                                   ("laughs", {sheet: f'<!DOCTYPE w [<!ENTITY a0 "ha">{laughs}]><worksheet>&a11;</worksheet>'}, 1)):
            book = self.folder / f"{name}.xlsx"
            with zipfile.ZipFile(book, "w", zipfile.ZIP_DEFLATED) as archive:
                for part, content in {**whole, **parts}.items():
                    archive.writestr(part, content)
            book.write_bytes(book.read_bytes()[:int(book.stat().st_size * share)])
            for benchmark, words in (("mmbench", "Excel"), ("gqa", "not valid JSON")):
                with self.subTest(book=name, benchmark=benchmark):
                    self.bomb("eval", "--model", MODEL, "--benchmark", benchmark, "--questions", book, "--images", IMAGE.parent, "--output",
                              self.folder / "new", naming=[book.name, words])


class ArrayTest(BombCase):
    def test_claimed_shapes(self):
        for shape in ("(1000000, 1000000)", "(9223372036854775807, 2)", "(" + "2, " * 70 + ")", "(0, 9223372036854775807, 9223372036854775807)",
                      "(" * 5000):
            header = ("{'descr': '|i1', 'fortran_order': False, 'shape': " + shape + ", }").ljust(117).encode() + b"\n"
            mask = self.folder / "mask.npy"
            mask.write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + bytes(88))
            with self.subTest(shape=shape[:40]):
                self.bomb("plan", "--model", MODEL, "--head-mask", mask, "--output", self.folder / "plan.json", naming=["mask.npy"])


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, data):
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def jpeg(width, height):
    """A good one whose frame claims another size."""
    data = bytearray((ROOT / "tests/data/images/rgb.jpg").read_bytes())
    at = data.index(b"\xff\xc0")
    data[at + 5:at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


class ImageTest(BombCase):
    def test_claimed_sizes(self):
        rows = zlib.compress(bytes(1000))
        for name, data in (("large.png", png(65000, 65000, rows)), ("wide.png", png(2**31 - 1, 1, rows)), ("inside.png", png(13000, 13000, rows)),
                           ("large.jpg", jpeg(65000, 65000)), ("inside.jpg", jpeg(13000, 13000))):
            image = self.folder / name
            image.write_bytes(data)
            with self.subTest(image=name):
                self.bomb("generate", "--model", MODEL, "--image", image, "--prompt", "Is it?", naming=[name])

    def test_in_a_table(self):
        """Of MMBench: what a cell claims, and a cell that is long."""
        table = self.folder / "table.tsv"
        header = "index\tquestion\thint\tA\tB\tC\tD\tanswer\tcategory\timage\tl2-category\n"
        images = {"large": base64.b64encode(png(65000, 65000, zlib.compress(bytes(1000)))).decode(), "zeros": "A" * (64 << 20), "other": "!" * 1000,
                  "itself": "1", "circle": "2"}
        for name, image in images.items():
            table.write_text(header + f"1\tq\t\ta\tb\tc\td\tA\tx\t{image}\ty\n" + (f"2\tq\t\ta\tb\tc\td\tA\tx\t1\ty\n" if name == "circle" else ""))
            with self.subTest(image=name):
                shutil.rmtree(self.folder / "new", ignore_errors=True)
                self.bomb("eval", "--model", MODEL, "--benchmark", "mmbench", "--questions", table, "--output", self.folder / "new", naming=["table.tsv"],
                          may_leave=("new", "answers", "mmbench-dense.jsonl", "mmbench-dense.jsonl.fingerprint"))


class TextTest(BombCase):
    def test_deep_and_unfolding(self):
        """Recipes, and JSON that is read by every reader alike."""
        recipe = self.folder / "recipe.yaml"
        laughs = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))
        for name, text in (("laughs", laughs), ("brackets", "model: " + "[" * 200_000), ("keys", "".join(" " * i + "a:\n" for i in range(3000))),
                           ("merges", "a: &a {x: 1}\nb: {<<: *a}\n"), ("tags", "model: !!python/object/apply:os.system [ls]\n")):
            recipe.write_text(text)
            with self.subTest(recipe=name):
                self.bomb("run", recipe, naming=["recipe.yaml"])
        model = self.model()
        for file in ("config.json", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json", "chat_template.json"):
            good = (model / file).read_text()
            for name, text in (("brackets", "[" * 500_000), ("objects", '{"a":' * 200_000), ("closed", "[" * 100_000 + "]" * 100_000)):
                (model / file).write_text(text)
                with self.subTest(file=file, text=name):
                    self.bomb(*self.generate(model), naming=[file])
            (model / file).write_text(good)

    def test_templates(self):
        """A chat template is a program: loops in loops, and texts that double."""
        model = self.model()
        forever = "{% for a in range(99999) %}" * 4 + "x" + "{% endfor %}" * 4
        # Each time the text is twice as long.
        double = "{% set ns = namespace(x='ab') %}" + "{% set ns.x = ns.x ~ ns.x %}" * 60 + "{{ ns.x }}"
        deep = "{{ " + "(" * 100_000 + "1" + ")" * 100_000 + " }}"
        for name, text in (("loops", forever), ("doubling", double), ("deep", deep), ("not", "{{ " + "not " * 100_000 + "1 }}")):
            (model / "chat_template.json").write_text(json.dumps({"chat_template": text}))
            with self.subTest(template=name):
                self.bomb(*self.generate(model), naming=["chat_template.json"])


def byte_characters():
    """The character that byte-level tokenizers write for each byte."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = iter(range(256, 512))
    return [chr(byte if byte in kept else next(rest)) for byte in range(256)]


class PatternTest(BombCase):
    def tokenizer(self, pattern):
        """The demo's model with a tokenizer of bytes that cuts texts by the pattern."""
        model = self.model()
        content = json.loads((MODEL / "tokenizer.json").read_text())
        vocabulary = {token: number for number, token in enumerate(["<unk>", "<s>", "</s>", *byte_characters()])}
        vocabulary.update({chr(0x4e00 + number): number for number in range(len(vocabulary), 430)})
        bytes_only = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
        split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        content.update(normalizer=None, decoder=bytes_only, pre_tokenizer={"type": "Sequence", "pretokenizers": [split, bytes_only]})
        content["model"].update(unk_token=None, fuse_unk=False, byte_fallback=False, vocab=vocabulary, merges=[])
        (model / "tokenizer.json").write_text(json.dumps(content))
        return model

    def ask(self, model, question):
        return ["generate", "--model", model, "--image", IMAGE, "--prompt", question, "--max-new-tokens", 1, "--threads", 1]

    def test_catastrophic(self):
        # The last three: each place of the text is cheap enough, and there are many. A text may cost 5 seconds, and what begins then.
        for pattern, question in (("(?:a+)+[bc]", "a" * 60), ("(?:a|a)*[bc]", "a" * 3000), ("(?:a*)*[bc]", "a" * 3000), ("(?:a|aa)+[bc]", "a" * 100),
                                  ("a*a*a*[bc]", "a" * 3000), ("a*a*[bc]", "a" * 20000), ("(?:a?){40}a*[bc]", "a" * 3000)):
            with self.subTest(pattern=pattern):
                self.bomb(*self.ask(self.tokenizer(pattern), question), naming=["tokenizer.json", "pre_tokenizer", "match limit"], seconds=12)
        self.bomb(*self.ask(self.tokenizer("(a+)+$"), "a" * 60), naming=["tokenizer.json", "'$' is not supported"])

    def test_a_long_text(self):
        """Steps that each run over all of it."""
        questions = self.folder / "questions.jsonl"
        questions.write_text(json.dumps({"question_id": 0, "image": IMAGE.name, "text": "a" * 1_000_000}) + "\n")
        for pattern in ("(?:(?=a*)a)*[bc]", "a*[bc]"):
            with self.subTest(pattern=pattern):
                self.bomb("calibrate", "--model", self.tokenizer(pattern), "--questions", questions, "--images", IMAGE.parent, "--threads", 1,
                          "--output", self.folder / "stats.h5", naming=["tokenizer.json", "match limit"], seconds=12)

    def test_what_is_long_is_not_catastrophic(self):
        for pattern, question in (("\\p{L}+|\\s+(?!\\S)|\\s+", " " * 200), ("a+[bc]|a", "a" * 200), ("(?:a+)+[bc]", "a" * 200 + "b")):
            with self.subTest(pattern=pattern):
                self.yopo(*self.ask(self.tokenizer(pattern), question))


class StatisticsTest(BombCase):
    def damaged(self, name, change):
        """Good statistics, changed by h5py."""
        file = self.folder / name
        shutil.copy(self.stats(), file)
        with h5py.File(file, "r+") as content:
            change(content)
        return file

    def test_data_that_lies_elsewhere(self):
        other = self.folder / "other.h5"
        shutil.copy(self.stats(), other)
        raw = self.folder / "raw.bin"
        raw.write_bytes(bytes(8 * 11 * 384))

        def replace(content, make):
            shape = content["/ffn/abs_sum"].shape
            del content["/ffn/abs_sum"]
            make(content, shape)

        def virtual(content, shape):
            layout = h5py.VirtualLayout(shape=shape, dtype="f8")
            layout[...] = h5py.VirtualSource(str(other), "/ffn/abs_sum", shape=shape)
            content.create_virtual_dataset("/ffn/abs_sum", layout)

        def external(content, shape):
            content.create_dataset("/ffn/abs_sum", shape, "f8", external=[(str(raw), 0, 8 * int(numpy.prod(shape)))])

        def external_link(content, shape):
            content["/ffn/abs_sum"] = h5py.ExternalLink(str(other), "/ffn/abs_sum")

        def soft(content, shape):
            content["/ffn/abs_sum"] = h5py.SoftLink("/ffn/abs_sum")  # to itself

        def loop(content, shape):
            content["/ffn/abs_sum"] = h5py.SoftLink("/ffn/loop")
            content["/ffn/loop"] = h5py.SoftLink("/ffn/abs_sum")

        def compressed(content, shape):
            content.create_dataset("/ffn/abs_sum", (40_000, 8_000), "f8", chunks=(10_000, 8_000), compression="gzip", fillvalue=0)

        for make, words in ((virtual, "virtual"), (external, "external"), (external_link, "link"), (soft, "link"), (loop, "link"),
                            (compressed, "more than the file holds")):
            with self.subTest(kind=make.__name__):
                file = self.damaged(f"{make.__name__}.h5", lambda content: replace(content, make))
                for arguments in (["plan", "--model", MODEL, "--stats", file, "--ffn-keep", "0.5", "--output", self.folder / "plan.json"],
                                  ["inspect", file], ["merge", file, "--output", self.folder / "merged.h5"]):
                    self.bomb(*arguments, naming=[file.name, words])

    def test_groups_in_circles(self):
        def circle(content):
            content["/ffn/again"] = content["/ffn"]
            content["/samples/root"] = content["/"]
        self.bomb("inspect", self.damaged("circle.h5", circle), naming=["circle.h5"])


if __name__ == "__main__":
    unittest.main()
