"""A folder per benchmark with small random data in its official formats, beside it an answers file, and the commands that
score them.

python -m benchmarks.data.make FOLDER [COUNT [SEED]]    (from tests/python)
"""
import pathlib
import random
import sys

from . import random_sets
from .files import answers, write_answers


def make(folder, benchmark, count, seed):
    """(files, answers) of a benchmark under `folder`; the same seed gives the same bytes. Now and then a question is answered
    twice. The answers are shuffled, but where the original scripts go by their order."""
    rng = random.Random(f"{benchmark} {seed}")
    files = random_sets.MAKERS[benchmark](folder, rng, count)
    said = answers(files.asked, random_sets.random_texts(rng, files))
    if benchmark not in ("pope", "mme"):
        rng.shuffle(said)
    return files, [one for right in said for one in ([{**right, "text": "wrong"}, right] if rng.random() < 0.01 else [right])]


if __name__ == "__main__":
    for name in random_sets.MAKERS:
        place = pathlib.Path(sys.argv[1]) / name
        made, said = make(place, name, int((sys.argv[2:] or ["100"])[0]), int((sys.argv[3:] or ["0"])[0]))
        write_answers(place.with_name(f"{name}.answers.jsonl"), said)
        print("yopo eval", *made.flags(), "--answers", place.with_name(f"{name}.answers.jsonl"), "--json")
