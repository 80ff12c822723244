"""What the scorers share: reading answers and JSON lines, repeated answers, means."""
import json


class BadData(Exception):
    """The files cannot be scored: what the command must refuse with exit code 2."""


def json_lines(path):
    """The objects of a JSON-lines file; lines end at \\n alone, as a JSON string may hold other line separators."""
    with open(path, encoding="utf-8", newline="\n") as file:
        return [json.loads(line) for line in file if line.strip()]


def json_file(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def mean(values):
    """The plain mean; of nothing it is 0, as GQA's own script has it."""
    return float(sum(values)) / len(values) if values else 0.0


def group_means(pairs):
    """{name: mean of its values} of (name, value) pairs."""
    groups = {}
    for name, value in pairs:
        groups.setdefault(name, []).append(value)
    return {name: mean(values) for name, values in groups.items()}


def last_answers(answers, key, asked):
    """The answers that count, in the order of the file. `key(answer)` is what an answer is known by and asked[key] how often it
    was asked; of more lines than that the last ones win, each in the place of the first ones (what a Python dict does). An
    answer to what was not asked does not count; a question without an answer is an error."""
    places, kept = {}, []
    for answer in answers:
        name = key(answer)
        if name not in asked:
            continue
        mine = places.setdefault(name, [])
        if len(mine) < asked[name]:
            mine.append(len(kept))
            kept.append(answer)
        else:
            for place, following in zip(mine, mine[1:]):
                kept[place] = kept[following]
            kept[mine[-1]] = answer
    for name, times in asked.items():
        if len(places.get(name, [])) < times:
            raise BadData(f"no answer to {name}")
    return kept


def counted(names):
    """How often each name occurs."""
    asked = {}
    for name in names:
        asked[name] = asked.get(name, 0) + 1
    return asked


def refuse_repeated(names, what):
    """A repeated name is an error."""
    for name, times in counted(names).items():
        if times > 1:
            raise BadData(f"{what} {name} occurs {times} times")


def only(results):
    """A result without categories of its own."""
    return {"score": mean(results), "count": len(results), "categories": {}}
