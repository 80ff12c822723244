"""MME: points per category, two questions an image."""
from .common import BadData, counted, last_answers, mean

PERCEPTION = "existence count position color posters celebrity scene landmark artwork OCR".split()
COGNITION = "commonsense_reasoning numerical_calculation text_translation code_reasoning".split()
SUFFIX = "Answer the question using a single word or phrase."
YES_NO = "Please answer yes or no."
IMAGES = (".png", ".jpg", ".jpeg")


def ground_truth(folder):
    """{(category, stem, question): yes or no in any case} of a folder of categories in either layout, in sorted order, and
    {(category, stem): image path relative to the folder}. Folders that are no category are passed over."""
    truth, images = {}, {}
    for category in sorted(path for path in folder.iterdir() if path.is_dir() and path.name in PERCEPTION + COGNITION):
        split = (category / "images").is_dir()
        pictures, texts = (category / "images", category / "questions_answers_YN") if split else (category, category)
        for path in sorted(pictures.iterdir()):
            if path.suffix.lower() in IMAGES:
                images[category.name, path.name.split(".")[0]] = path.relative_to(folder).as_posix()
        for path in sorted(texts.glob("*.txt")):
            stem = path.name.split(".")[0]
            if (category.name, stem) not in images:
                raise BadData(f"{path} has no image")
            for line in path.read_text(encoding="utf-8").split("\n"):
                if not line.strip():
                    continue
                fields = line.strip().split("\t")
                if len(fields) != 2 or fields[1].lower() not in ("yes", "no") or (category.name, stem, fields[0]) in truth:
                    raise BadData(f"{path}: {line!r}")
                truth[category.name, stem, fields[0]] = fields[1]
    return truth, images


def place(answer, truth):
    """(category, stem, question) of an answer: one space, then two, before "Please answer yes or no."."""
    parts = answer["question_id"].split("/")
    category, stem = parts[0], parts[-1].split(".")[0]
    text = answer["prompt"]
    if SUFFIX in text:
        text = text.replace(SUFFIX, "").strip()
    if YES_NO not in text:
        one, two = f"{text} {YES_NO}", f"{text}  {YES_NO}"
        text = one if (category, stem, one) in truth else two
    return category, stem, text


def verdict(text):
    """LLaVA's path through MME's script: code points of the lower-cased, unstripped text."""
    text = text.replace("\t", " ").replace("\n", " ").lower()
    return "yes" if "yes" in text[:4] else "no" if "no" in text[:4] else "other"


def _verdict_lmms(text):
    text = text.lower().strip().replace(".", "")
    if len(text) == 1:
        return {"y": "yes", "n": "no"}.get(text, "other")
    return "yes" if "yes" in text[:4] else "no" if "no" in text[:4] else "other"


def score(files, answers, protocol="llava", rule=None):
    truth, _ = ground_truth(files.images)
    read = _verdict_lmms if protocol == "lmms" else verdict
    answers = last_answers(answers, lambda answer: place(answer, truth), counted(truth))
    hits = {}
    for answer in answers:
        where = place(answer, truth)
        hits.setdefault(where[0], []).append((where[1], read(answer["text"]) == truth[where].lower()))
    categories = {}
    for category, results in hits.items():
        if len(results) % 2:
            raise BadData(f"{category}: {len(results)} questions, not two an image")
        both = [float(a and b) for (_, a), (_, b) in zip(results[::2], results[1::2])]
        categories[category] = 100 * mean([float(hit) for _, hit in results]) + 100 * mean(both)
    perception = sum(value for name, value in categories.items() if name in PERCEPTION)
    cognition = sum(value for name, value in categories.items() if name in COGNITION)
    return {"score": perception, "count": len(answers),
            "categories": {**categories, "perception": perception, "cognition": cognition}}


def submission(files, answers):
    """{category: text of its file}: lines `file\\tquestion\\tground truth\\tanswer`."""
    truth, _ = ground_truth(files.images)
    result = {}
    for answer in last_answers(answers, lambda answer: place(answer, truth), counted(truth)):
        where = place(answer, truth)
        said = answer["text"].replace("\t", " ").replace("\n", " ")
        result[where[0]] = result.get(where[0], "") + f"{where[1]}.txt\t{where[2]}\t{truth[where]}\t{said}\n"
    return result
