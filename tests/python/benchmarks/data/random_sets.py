"""Seeded random sets of each benchmark, about `count` questions, in the official formats."""
from . import choices, open_questions, yes_no
from .random_answers import NASTY, WORDS, random_answer

NOUNS = ["dog", "red car", "man's hat", "2 dogs", "two dogs", "ten", "none", "yes", "no", "1,000", "3.5", "U.S.A.", "it's",
         "couldnt", "the cat", "a", "white-and-black", "caf\u00e9", "\u0395\u039b\u039b\u0391\u03a3", "left", "t-shirt", "24/7",
         "stop!", "coca cola", "what's that", "no one"]
MISSING = ["", "NA", "N/A", "n/a", "NULL", "null", "NaN", "nan", "None", "<NA>", "#N/A", "-nan"]


def _annotators(rng):
    """Ten answers: of one mind, nearly, or not at all."""
    pool = [rng.choice(NOUNS) for _ in range(rng.choice((1, 1, 2, 3, 6)))]
    variants = [*pool, *pool, rng.choice(pool).title(), rng.choice(pool) + ".", "the " + rng.choice(pool), rng.choice(WORDS)]
    pool = pool if rng.random() < 0.5 else variants
    return [rng.choice(pool) for _ in range(10)]


def _question(rng, number):
    extra = rng.choice(NASTY) if rng.random() < 0.05 else ""
    extra = "" if extra in ("\n", "\t", "\r", "\x1c", "\x85", "\u2028") else extra  # lines are counted in TextVQA's prompts
    start = rng.choice(("What is", "Who sees", "Is there", "How many are"))
    return f"{start} {rng.choice(('the', 'a', 'THE'))} {extra}thing {number}?"


def vqav2(folder, rng, count):
    kinds = [("yes/no", "is there a"), ("yes/no", "are the"), ("number", "how many"), ("other", "what is the"),
             ("other", "what color")]
    rows = []
    for number in range(count):
        answer_type, question_type = rng.choice(kinds)
        rows.append({"id": 1000 + number, "image_id": 1 + number % 40, "question": _question(rng, number),
                     "answers": _annotators(rng), "question_type": question_type, "answer_type": answer_type})
    return open_questions.vqav2(folder, rows)


def gqa(folder, rng, count):
    rows, others = [], []
    for number in range(count + count // 20):
        structural = rng.choice(("query", "verify", "choose", "logical", "compare"))
        row = {"id": f"2{number:07d}", "image": f"n{161313 + number % 40}", "question": _question(rng, number),
               "structural": structural, "balanced": rng.random() < 0.95,
               "answer": rng.choice(NOUNS).lower() if structural in ("query", "choose") else rng.choice(("yes", "no"))}
        (rows if number < count else others).append({**row, "balanced": row["balanced"] and number < count})
    return open_questions.gqa(folder, rows, others)


def textvqa(folder, rng, count):
    """Two questions an image, and further annotations of the same questions, which replace the first."""
    rows = [{"image_id": f"{number // 2:016x}", "question": _question(rng, number), "answers": _annotators(rng),
             "tokens": [rng.choice(NOUNS) for _ in range(rng.randint(0, 3))]} for number in range(count)]
    repeated = [{**rng.choice(rows), "answers": _annotators(rng)} for _ in range(count // 50)]
    return open_questions.textvqa(folder, rows, repeated=repeated)


def scienceqa(folder, rng, count):
    rows = []
    for number in range(count):
        options = [f"{rng.choice(NOUNS)} {place}" for place in range(rng.randint(2, 5))]
        rows.append({"id": str(5 + number), "question": _question(rng, number), "choices": options,
                     "answer": rng.randrange(len(options)), "hint": rng.choice(("", "", "Look at the picture.")),
                     "image": "image.png" if number % 25 == 0 else None})
    return choices.scienceqa(folder, rows, other_splits=["1", "2"])


def pope(folder, rng, count):
    """Splits of unequal lengths, one after another."""
    rows = [{"split": ("adversarial", "popular", "random")[3 * number // count], "label": rng.choice(("yes", "no")),
             "image": f"COCO_val2014_{1 + number % 40:012d}.jpg", "text": f"Is there a {rng.choice(NOUNS)} in the image?"}
            for number in range(count)]
    return yes_no.pope(folder, rows)


def mme(folder, rng, count):
    categories = ("existence count position color posters celebrity scene landmark artwork OCR commonsense_reasoning "
                  "numerical_calculation text_translation code_reasoning").split()
    rows = []
    for number in range(count // 2):
        space = rng.choice((" ", " ", "  "))
        labels = rng.choice((("Yes", "No"), ("No", "Yes")))
        rows.append({"category": categories[number % len(categories)], "file": f"{number:06d}.{rng.choice(('png', 'jpg'))}",
                     "pair": [(f"Is {rng.choice(NOUNS)} number {number} {side}?{space}Please answer yes or no.", label)
                              for side, label in zip(("here", "there"), labels)]})
    return yes_no.mme(folder, sorted(rows, key=lambda row: (categories.index(row["category"]), row["file"])))


def mmbench(folder, rng, count):
    rows, group = [], 0
    while len(rows) < count:
        group += 1
        options = [f"{rng.choice(NOUNS)} of {group % 7}{place}" for place in range(rng.randint(2, 4))]
        right, category = rng.randrange(len(options)), rng.randrange(6)
        common = {"question": rng.choice((_question(rng, group), f'Which "{group}"\nis\tit?', f'"{group}" which?')),
                  "category": f"category {category}", "l2-category": f"level {category % 2}"}
        if rng.random() < 0.3:
            common["hint"] = rng.choice(("A hint.", 'Two\nlines, "quoted"'))
        first = 0 if rng.random() < 0.97 else 1  # a group without its main row
        for turn in range(first, min(len(options), 1 + rng.randrange(4))):
            turned = options[turn:] + options[:turn]
            rows.append({**common, "index": turn * 1000000 + group, "answer": "ABCD"[turned.index(options[right])],
                         **dict(zip("ABCD", turned))})
    rows = rows[:count]
    return choices.mmbench(folder, sorted(rows, key=lambda row: row["index"]), missing=rng.choice(MISSING))


MAKERS = {"vqav2": vqav2, "gqa": gqa, "scienceqa": scienceqa, "textvqa": textvqa, "pope": pope, "mme": mme, "mmbench": mmbench}


def random_texts(rng, files):
    """A text for every question; those of a turned MMBench group are mostly right together, or no group would be."""
    return [question.correct[0] if files.benchmark == "mmbench" and rng.random() < 0.4 else random_answer(rng, question)
            for question in files.asked]
