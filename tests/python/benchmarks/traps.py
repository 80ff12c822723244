"""Small sets whose answers hit every trap of the published rules, with the scores worked out by hand.

A table's row is one answer with the points it must get: under protocol llava, and under lmms. Case.expected holds literal
scores and categories for each (protocol, rule)."""
import dataclasses

from .data import choices, open_questions, yes_no
from .data.files import answer, answers, write_text

LLAVA, LMMS = ("llava", None), ("lmms", None)


@dataclasses.dataclass
class Case:
    name: str
    build: object  # (folder) -> Files
    said: object  # (Files) -> answers, or a list of texts
    expected: dict  # {(protocol, rule): (score, count, categories)}

    def answers(self, files):
        return self.said(files) if callable(self.said) else answers(files.asked, self.said)


def mixed(text, times=9, other="zebra"):
    """Annotators who disagree: `times` of them say `text`."""
    return [text] * times + [other] * (10 - times)


def same(text):
    return [text] * 10


# (answer, annotators, points under llava, points under lmms). With n of ten annotators of the answer's mind the soft accuracy
# is 0, 0.3, 0.6, 0.9, 1, 1, ... for n = 0, 1, 2, 3, 4, ...
VQAV2 = {
    "soft accuracy": [
        ("cat", mixed("dog"), 0, 0), ("dog", mixed("dog", 1), 0.3, 0.3), ("dog", mixed("dog", 2), 0.6, 0.6),
        ("dog", mixed("dog", 3), 0.9, 0.9), ("dog", mixed("dog", 4), 1, 1), ("dog", same("dog"), 1, 1)],
    "of one mind: the annotators are only stripped": [
        ("the dog", same("the dog"), 0, 1), ("two", same("two"), 0, 1), ("two", same("2"), 1, 1), ("Dog", same("Dog"), 0, 1),
        ("dog", same("\tdog\n"), 1, 1), ("red dog", same("red\ndog"), 1, 1), ("red dog", same("red\tdog"), 1, 1),
        ("dont", same("don't"), 1, 1), ("don't", same("dont"), 0, 1), ("dog", same("dog!"), 0, 1)],
    "of several minds: both sides are normalised": [
        ("the dog", mixed("The  dog"), 1, 1), ("two", mixed("Two"), 1, 1), ("2", mixed("two"), 1, 1),
        ("none", mixed("0"), 1, 1), ("dog", mixed("Dog"), 1, 1), ("dont", mixed("don't"), 1, 1), ("dog", mixed("dog!"), 1, 1),
        ("dog", mixed("a dog."), 1, 1)],
    "'s is lost when the annotators disagree": [
        ("dog's", mixed("dog's"), 0, 1), ("dog's", same("dog 's"), 1, 0), ("dog 's", same("dog's"), 0, 0),
        ("dog's", same("dog's"), 0, 1)],
    "a comma between digits deletes all marks": [
        ("1,000", mixed("1,000"), 1, 1), ("1,000", same("1000"), 1, 1), ("1,000", same("1,000"), 0, 1),
        ("red-white 1,5", mixed("red-white 1,5"), 0, 1), ("redwhite 15", mixed("red-white 1,5"), 1, 1),
        # Two commas: the official scorer wants one between digits, EvalAI's pattern takes any number.
        ("red white 1 5", mixed("red-white 1,,5"), 1, 0)],
    "marks beside a space, in the text as given": [
        ("red - white", mixed("red white"), 1, 1), ("red-white", mixed("red white"), 1, 1),
        ("red- white", mixed("red white"), 1, 1), ("red- white-blue", mixed("red whiteblue"), 1, 1),
        ("p/q/;y", mixed("p q y"), 1, 1), ("p/q/;y", mixed("pq y"), 0, 0), ("p/q/;y", same("p q y"), 1, 1)],
    "dots: 32 go, each that no digit follows": [
        ("." * 32 + "x", same("x"), 1, 1), ("." * 33 + "x", same("x"), 0, 0), ("." * 33 + "x", same(".x"), 1, 0),
        ("." * 64 + "x", mixed("x"), 1, 0), ("." * 65 + "x", mixed("x"), 0, 0), ("3.5", same("3.5"), 1, 1),
        ("5.", same("5"), 1, 1), ("a.b", same("ab"), 1, 1), (".5", same(".5"), 1, 1), ("5.x", same("5x"), 1, 1)],
    "words": [
        ("None", same("0"), 1, 1), ("ten", same("10"), 1, 1), ("eleven", same("11"), 0, 0), ("the", same(""), 1, 1),
        ("A an THE", same(""), 1, 1), ("then", same("then"), 1, 1), ("Im", same("i'm"), 0, 0), ("Im", same("im"), 1, 1),
        ("I'dve", same("i'd've"), 0, 0), ("somebody'd", same("somebodyd"), 1, 1), ("dog?", same("dog"), 1, 1),
        ("what,ever", same("whatever"), 1, 0), ("dog\u00a0cat", same("dog cat"), 1, 1), ("\u0130", same("i\u0307"), 1, 1),
        ("\u0395\u039b\u039b\u0391\u03a3", same("\u03b5\u03bb\u03bb\u03b1\u03c2"), 1, 1)],
}
VQAV2_SCORES = {  # name: (llava, lmms); the sums of the columns above over the number of rows
    "soft accuracy": (3.8 / 6, 3.8 / 6),
    "of one mind: the annotators are only stripped": (5 / 10, 10 / 10),
    "of several minds: both sides are normalised": (8 / 8, 8 / 8),
    "'s is lost when the annotators disagree": (1 / 4, 2 / 4),
    "a comma between digits deletes all marks": (4 / 6, 5 / 6),
    "marks beside a space, in the text as given": (6 / 7, 6 / 7),
    "dots: 32 go, each that no digit follows": (8 / 10, 6 / 10),
    "words": (12 / 15, 11 / 15),
}


def _vqav2(name, official_questions=False):
    table = VQAV2[name]
    kinds = ("yes/no", "number", "other")

    def build(folder):
        return open_questions.vqav2(folder, [
            {"id": 100 + place, "image_id": 7, "question": f"What is {place}?", "answers": row[1], "question_type": "what is",
             "answer_type": kinds[place % 3]} for place, row in enumerate(table)], official_questions)

    def by_kind(column):
        kept = {kind: [row[column] for row in table[place::3]] for place, kind in enumerate(kinds)}
        return {kind: sum(points) / len(points) for kind, points in kept.items()}

    expected = {protocol: (VQAV2_SCORES[name][column - 2], len(table), by_kind(column))
                for column, protocol in ((2, LLAVA), (3, LMMS))}
    return Case(f"vqav2, {name}", build, [row[0] for row in table], expected)


def _vqav2_full_list(folder):
    """Four questions are annotated and listed, the first two are asked; what was not asked is answered with "", which is also
    what becomes of "the"."""
    files = open_questions.vqav2(folder, [
        {"id": 7 + place, "image_id": 7, "question": f"What is {place}?", "answers": mixed(text), "question_type": "what is",
         "answer_type": "other"} for place, text in enumerate(("dog", "cat", "the", "dog"))])
    lines = files.questions.read_text().splitlines(keepends=True)
    files.annotations.append(write_text(folder / "llava_vqav2_mscoco_test2015.jsonl", "".join(lines)))
    write_text(files.questions, "".join(lines[:2]))
    files.asked = files.asked[:2]
    return files


# (answer, annotated, structural type, points under llava, points under lmms)
GQA = [
    ("yes", "yes", "verify", 1, 1), ("Yes.", "yes", "verify", 1, 1), ("YES...", "yes", "logical", 1, 1),
    (".yes", "yes", "compare", 0, 1), ("yes ", "yes", "choose", 0, 0), ("yes. ", "yes", "verify", 0, 0),
    ("yes,", "yes", "verify", 0, 1), ("no", "yes", "verify", 0, 0), ("t-shirt", "t-shirt", "query", 1, 1),
    ("tshirt", "t-shirt", "query", 0, 1), ("", "dog", "query", 0, 0), ("the dog", "dog", "query", 0, 0),
    ("CAF\u00c9", "caf\u00e9", "query", 1, 1), ("dog\u3002", "dog", "query", 0, 0), ("two", "2", "query", 0, 0),
    ("dog", "Dog", "query", 0, 1),
]


def _gqa(folder):
    rows = [{"id": f"20{place}", "image": "n161313", "question": f"Which {place}?", "answer": row[1], "structural": row[2],
             "balanced": True} for place, row in enumerate(GQA)]
    rows.append({**rows[0], "id": "299", "balanced": False})  # asked, but not balanced: it does not count
    return open_questions.gqa(folder, rows, [{**rows[0], "id": "300", "balanced": False}])


# (answer, options, index of the right one, has an image, points under llava, points under lmms); None: no answer at all
SCIENCEQA = [
    ("B", 2, 1, True, 1, 1), ("A", 2, 1, True, 0, 0), ("B.", 2, 1, True, 0, 1), ("B. blue", 2, 1, True, 1, 1),
    ("B. ", 2, 1, True, 1, 1), ("B.blue", 2, 1, True, 0, 1), ("b", 2, 1, True, 0, 1), (" B", 2, 1, True, 0, 1),
    ("B\n", 2, 1, False, 0, 1), ("The answer is B.", 2, 1, True, 1, 0), ("The answer is B", 2, 1, True, 0, 0),
    ("The answer is Blue", 2, 1, True, 1, 0), ("The answer is B\n", 2, 1, True, 0, 0),
    ("The answer is B. The answer is B.", 2, 1, True, 0, 0), ("The answer is BThe answer is B.", 2, 1, False, 1, 0),
    ("the answer is B.", 2, 1, True, 0, 0), ("So: The answer is B!", 2, 1, False, 1, 0), ("C", 2, 1, True, 0, 0),
    ("E", 5, 4, True, 1, 1), ("(B)", 2, 1, True, 0, 0), ("", 2, 1, False, 0, 0), ("The answer is Z.", 2, 1, True, 0, 0),
    ("The answer is B\u2028", 2, 1, True, 1, 0), ("B\u00a0", 2, 1, True, 0, 1), (None, 2, 1, True, 0, 0),
    (None, 2, 0, False, 0, 0), ("A. red", 2, 1, True, 0, 0),
]


def _scienceqa(folder):
    rows = [{"id": str(11 + place), "question": f"Which {place}?", "choices": [f"choice {n}" for n in range(count)], "hint": "",
             "answer": right, "image": "image.png" if image else None}
            for place, (_, count, right, image, *_) in enumerate(SCIENCEQA)]
    return choices.scienceqa(folder, rows, other_splits=["1"])


# (question, OCR tokens, answer, annotators, points)
TEXTVQA = [
    ("what is it?", ["a", "b"], "dog's", same("Dog's"), 1), ("what is it?", [], "1,000", same("1000"), 1),
    ("WHAT is it", ["x"], "two", same("2"), 1), (" what is it? ", ["x"], "." * 33 + "x", same("x"), 0),
    ("what is it?", ["y"], "." * 33 + "x", same("." * 33 + "x"), 1), ("\u0130s it?", ["y"], "dog", mixed("dog", 1), 0.3),
    ("is it \u03a3?", ["y"], "dog", mixed("Dog!", 2), 0.6), ("is it 3?", ["y"], "the dog", mixed("a dog.", 3), 0.9),
    ("is it 4?", ["y"], "red-white 1,5", same("red white 15"), 1), ("is it 5?", ["y"], "none", same("zero"), 1),
    ("is it 6?", ["y"], "what's that?", same("what 's that"), 1), ("is it 7?", ["y"], "", same("the"), 1),
    ("is it 8?", ["y"], "cat", same("dog"), 0),
]


def _textvqa(ocr):
    def build(folder):
        rows = [{"image_id": f"{place // 2:016x}", "question": question, "tokens": tokens, "answers": annotators}
                for place, (question, tokens, _, annotators, _) in enumerate(TEXTVQA)]
        rows[0]["question"] = "Which one?"  # an image has two questions; these two would be the same
        # The annotation that comes last counts: here it replaces what row 12 was annotated with.
        return open_questions.textvqa(folder, rows, ocr, [{**rows[12], "question": "Is IT 8?", "answers": same("cat")}])

    return build


# split: (answer, label)
POPE = {
    "adversarial": [("Yes", "yes"), ("NO", "no"), ("no", "no"), ("n,o", "yes"), ("Yes. no", "yes"), ("", "no"),
                    ("There is no dog", "no"), ("no\tdog", "yes")],
    "popular": [("Not", "no"), ("None", "no"), ("not", "no"), ("No, it is not.", "yes"), (".no", "yes"), ("yes", "yes")],
    "random": [("no\u00a0here", "no"), ("know", "yes"), ("yes ", "no"), ("No", "yes"), ("yes", "yes")],
}
POPE_LLAVA = {  # true yes, false yes, true no, false no: 3 2 2 1; 2 2 1 1; 2 2 0 1
    "adversarial": (5 / 8, 3 / 5, 3 / 4, 2 / 3, 5 / 8), "popular": (3 / 6, 2 / 4, 2 / 3, 4 / 7, 4 / 6),
    "random": (2 / 5, 2 / 4, 2 / 3, 4 / 7, 4 / 5)}
POPE_LMMS = {  # true yes, false yes, false no, right: 1 0 0 3; 1 0 0 1; 1 1 1 1
    "adversarial": (3 / 8, 1, 1, 1, 4 / 8), "popular": (1 / 6, 1, 1, 1, 3 / 6), "random": (1 / 5, 1 / 2, 1 / 2, 1 / 2, 3 / 5)}


def _pope_categories(table):
    return {f"{split}/{name}": value for split, values in table.items()
            for name, value in zip(("accuracy", "precision", "recall", "f1", "yes_ratio"), values)}


def _pope(order):
    """`order`: (split, place in it) of each question."""
    return lambda folder: yes_no.pope(folder, [
        {"split": split, "image": "COCO_val2014_000000000001.jpg", "text": f"Is there {split} {place}?",
         "label": POPE[split][place][1]} for split, place in order])


def _pope_case(name, order, answers_of=lambda found: found):
    def said(files):
        return answers_of(answers(files.asked, [POPE[split][place][0] for split, place in order]))

    return Case(f"pope, {name}", _pope(order), said, {LLAVA: (38 / 63, 19, _pope_categories(POPE_LLAVA)),
                                                       LMMS: (2.5 / 3, 19, _pope_categories(POPE_LMMS))})


# category: images of two questions each: (label, answer)
MME = {
    "existence": [[("Yes", "Yes"), ("No", "No")], [("No", "know"), ("Yes", "eyes")]],
    "posters": [[("No", "   no"), ("Yes", "Yes, it is")], [("No", "\u0130no"), ("Yes", "\u0130\u0130yes")]],
    "OCR": [[("Yes", "aye yes"), ("No", "abno")], [("Yes", "ayes"), ("No", "abcno")], [("Yes", "yes no"), ("No", "no yes")]],
    "code_reasoning": [[("No", "\tno"), ("Yes", "Y")], [("Yes", "maybe"), ("No", "")]],
    "text_translation": [[("Yes", "y.e.s"), ("No", "n\no")]],
}
MME_LLAVA = {"existence": 200, "posters": 50, "OCR": 100 * 4 / 6 + 100 / 3, "code_reasoning": 25, "text_translation": 0,
             "perception": 350, "cognition": 25}
MME_LMMS = {"existence": 200, "posters": 75 + 50, "OCR": 100 * 4 / 6 + 100 / 3, "code_reasoning": 50 + 50,
            "text_translation": 50, "perception": 425, "cognition": 150}


def _mme(folder):
    def asked(pair, spaces):
        return [(f"Is it {side}?{spaces}Please answer yes or no.", label) for side, (label, _) in enumerate(pair)]

    return yes_no.mme(folder, [
        {"category": category, "file": f"{14777 + place}.{'jpg' if place else 'png'}",
         "pair": asked(pair, "  " if place else " ")}
        for category, pairs in MME.items() for place, pair in enumerate(pairs)])


_MME_TEXTS = [text for pairs in MME.values() for pair in pairs for _, text in pair]

FRUIT = {"A": "red", "B": "green apple", "C": "blue"}
# (answer, the right letter, points under letter, vlmevalkit, lmms); the options are FRUIT
MMBENCH = [
    ("B", "B", 1, 1, 1), (" B\n", "B", 1, 1, 1), ("A", "B", 0, 0, 0), ("B.", "B", 0, 1, 1), ("(B)", "B", 0, 1, 1),
    ("b", "B", 0, 0, 0), ("D", "B", 0, 0, 0), ("The answer is B.", "B", 0, 1, 1), ("green apple", "B", 0, 1, 1),
    ("It is a Green Apple.", "B", 0, 1, 1), ("red or green apple", "B", 0, 0, 0), ("A B", "B", 0, 0, 0),
    ("A dog, B", "B", 0, 0, 0), ("the answer is a mystery", "A", 0, 1, 0), ("answer is **C**, not A or B", "C", 0, 1, 0),
    ("B is what I think it must be", "B", 0, 0, 1), ("What I think is B then", "B", 0, 1, 1),
    ("A or is it B. then", "B", 0, 0, 1), ("A or is it C then", "A", 0, 0, 1), ("It is not A at all here", "A", 0, 1, 1),
    ("Z", "B", 0, 0, 0), ("Z surely green apple", "B", 0, 0, 1), ("E green apple", "B", 0, 1, 0),
    ("Cannot determine the answer B", "B", 0, 0, 1), ("[B]", "B", 0, 1, 1), (":B", "B", 0, 1, 1), ("B B", "B", 0, 1, 1),
    ("This picture shows clearly one green apple here", "B", 0, 0, 1), ("", "B", 0, 0, 0), ("B\u00a0", "B", 1, 1, 1),
    ("BB", "B", 0, 0, 1), ("Failed to obtain answer via API B", "B", 0, 0, 1), ("(B).", "B", 0, 1, 1),
    ("B it must be", "B", 0, 1, 1), ("B it must be so", "B", 0, 0, 1),
]
MMBENCH_SCORES = {("llava", "letter"): 3 / 35, ("llava", "vlmevalkit"): 18 / 35, ("llava", "lmms"): 24 / 35}


def _mmbench(folder):
    return choices.mmbench(folder, [
        {"index": 10 + place, "question": f'Which\n"{place}"\tis it?', "answer": right, "category": f"row {place}",
         "l2-category": "all", **FRUIT} for place, (_, right, *_) in enumerate(MMBENCH)], missing="nan")


def _mmbench_expected(column, key):
    rows = {f"category/row {place}": float(row[column]) for place, row in enumerate(MMBENCH)}
    return MMBENCH_SCORES[key], len(MMBENCH), {**rows, "l2-category/all": MMBENCH_SCORES[key]}


# (index, right letter, answer, category): circular groups
CIRCULAR = [
    (1, "A", "A", "x"), (1000001, "B", "B", "not its own"), (2000001, "C", "C", "x"),  # all right
    (2, "B", "B", "x"), (1000002, "C", "A", "x"),  # a rotation is wrong
    (3, "B", "C", "y"), (1000003, "A", "A", "y"),  # the main row is wrong
    (1000004, "A", "A", "y"), (2000004, "B", "B", "y"),  # no main row: dropped
    (5, "C", "C", "y"),
]


def _circular(folder):
    return choices.mmbench(folder, [
        {"index": index, "question": "Which?", "answer": right, "category": category, "l2-category": f"over {category}",
         **FRUIT}
        for index, right, _, category in CIRCULAR])


def _repeated(files):
    """Right answers, each preceded by a wrong one to the same question: the last line wins."""
    return [one for question in files.asked for one in (answer(question, "wrong"), answer(question, question.correct[0]))]


def cases():
    yield from (_vqav2(name) for name in VQAV2)
    soft = _vqav2("soft accuracy")
    yield Case("vqav2, the official question file", _vqav2("soft accuracy", True).build, soft.said, soft.expected)
    yield Case("vqav2, listed but not asked", _vqav2_full_list, ["dog", "dog"], {LLAVA: (2 / 4, 4, {"other": 2 / 4})})
    yield Case("gqa", _gqa, [row[0] for row in GQA] + ["wrong"], {
        LLAVA: (5 / 16, 16, {"binary": 3 / 8, "open": 2 / 8}), LMMS: (9 / 16, 16, {"binary": 5 / 8, "open": 4 / 8})})
    yield Case("scienceqa", _scienceqa,
               lambda files: [answer(question, row[0]) for question, row in zip(files.asked, SCIENCEQA) if row[0] is not None],
               {LLAVA: (7 / 21, 27, {"IMG": 7 / 21, "total": 9 / 27}), LMMS: (9 / 21, 27, {"IMG": 9 / 21, "total": 10 / 27})})
    for ocr in (True, False):
        yield Case(f"textvqa, {'with' if ocr else 'without'} OCR tokens", _textvqa(ocr), [row[2] for row in TEXTVQA],
                   {protocol: (10.8 / 13, 13, {}) for protocol in (LLAVA, LMMS)})
    order = [(split, place) for split in POPE for place in range(len(POPE[split]))]
    yield _pope_case("in order", order)
    yield _pope_case("another order of the splits", order[14:] + order[8:14] + order[:8])
    yield _pope_case("the splits by turns", sorted(order, key=lambda one: one[1]))
    yield _pope_case("another order of the splits in the answers", order, lambda found: found[8:] + found[:8])
    yield Case("mme", _mme, _MME_TEXTS, {LLAVA: (350, 20, MME_LLAVA), LMMS: (425, 20, MME_LMMS)})
    yield Case("mmbench, rules", _mmbench, [row[0] for row in MMBENCH], {
        **{key: _mmbench_expected(2 + place, key) for place, key in enumerate(MMBENCH_SCORES)},
        LMMS: _mmbench_expected(4, ("llava", "lmms")), LLAVA: _mmbench_expected(2, ("llava", "letter"))})
    yield Case("mmbench, circular", _circular, [row[2] for row in CIRCULAR], {LLAVA: (2 / 4, 4, {
        "category/x": 1 / 2, "category/y": 1 / 2, "l2-category/over x": 1 / 2, "l2-category/over y": 1 / 2})})
    yield Case("repeated answers, vqav2", soft.build,
               lambda files: answers(files.asked, ["nothing"] * 6) + answers(files.asked, soft.said), soft.expected)
    yield Case("repeated answers, mme", _mme, _repeated, {LLAVA: (600, 20, {
        **{category: 200 for category in MME}, "perception": 600, "cognition": 400})})
    yield Case("repeated answers, pope", _pope(order), _repeated, {LLAVA: (1, 19, {
        f"{split}/{name}": value for split, ratio in (("adversarial", 4 / 8), ("popular", 3 / 6), ("random", 3 / 5))
        for name, value in (("accuracy", 1), ("precision", 1), ("recall", 1), ("f1", 1), ("yes_ratio", ratio))})})
