"""Seeded random answers that come near: right ones, nearly right ones, and what two implementations may read differently."""
from ..scorers.vqa_text import CONTRACTIONS, MARKS, NUMBERS

YES_NO = ["Yes", "No", "yes", "no", "YES", "NO", "Not", "not", "None", "Nope", "Yes.", "No.", "No, it is not.", "Yes, no",
          "no,", ",no", "n,o", "there is no dog", "I do not know", "know", "eyes", "knot", " no", "  yes", "\tno", "\nyes",
          "no\n", "yes ", "y", "n", "Y.", "N.", "Not. no", "Yes. No.", ".no", "it is. no", "not\u00a0here", "no\u00a0", "a\tno",
          "No\nYes", "y.e.s", "n.o", "\u0130no", "\u0130yes", "   no", "    no", "abno", "abcno", "ayes", "bayes", "maybe",
          "y e s", "no\u2028", "\u212ano", "Yes yes", "no no", "'no'", "no!", "No;", "\"Yes\"", "(no)", "**No**", "no-one",
          "nO", "yEs"]
LETTERS = ["{0}", "{0}.", "({0})", "{0})", "{0}. {1}", "{0}.{1}", "{0} . {1}", "The answer is {0}.", "The answer is {0}",
           "The answer is {0}!", "The answer is {0}\n", "The answer is {0}. The answer is {0}.", "the answer is {0}.",
           "The answer is ({0}).", " {0}", "{0} ", "{0}\n", "\t{0}", "{0}:", "{0}, {1}", ":{0}", ":{0}.", "({0}).", "({0}) {1}",
           "Answer: {0}", "answer is **{0}**", "Correct answer  is\u00a0{0}", "It is {0} because of A", "A or {0}", "{0} or B",
           "{1}", "It is {1}", "{1}.", "{0}, {0}", "I say {0} and nothing else is right here", "I think that it must be {0}",
           "{0} is what I think it must be then", "Z", "Z. {1}", "E", "E.", "F", "{0}{0}", "{0}\u00a0{1}", "{0}\u2028", "[{0}]",
           "{{{0}}}", "#{0}", "*{0}*", "'{0}'", "A {0}", "A dog {0} is here", "Cannot determine the answer {0}",
           "Failed to obtain answer via API {0}", "{0}.\u00a0{1}", "\uff22", "\u0391", "The answer is {0}lue.",
           "So: The answer is {0}.\nYes."]
NASTY = ["\u0130", "\u03a3", "\u03b1\u03a3", "\u03a3.", "\u00c9", "\u00df", "\u1e9e", "\u0660", "\u00b2", "\u2028", "\u00a0",
         "\x1c", "\x85", "\t", "\n", "\r", "\ufeff", "\u200d", "\U0001f600", "\U00010400", "\u01c5", "\u0345", "\u2126",
         "\u212a", "\u017f", "\uff0e", "\uff11", "\u3000", "\u0665,\u0665", "\u0665.\u0665", "e\u0301"]
WORDS = [*CONTRACTIONS, *CONTRACTIONS.values(), *NUMBERS, "a", "an", "the", "A", "The", "AN", "red", "it's", "1,000", "1,,000",
         "3.5", ".5", "5.", "10,5", "U.S.A.", "what?", "dog's", "dogs'", "N/A", "nan", "None of them"]


def _near(rng, text):
    """The text with one or two things changed."""
    for _ in range(rng.choice((1, 1, 2))):
        mark = rng.choice([*MARKS, ".", "'", "'s", "..", " .", ". ", ", ", " -"])
        place = rng.randint(0, len(text))
        text = rng.choice((
            text + ".", text + "." * rng.randint(2, 40), "." + text, text.upper(), text.title(), text.lower(), "the " + text,
            "a " + text, "An " + text, text + " ", " " + text, text + "\n", "\t" + text, text + mark, mark + text,
            text[:place] + mark + text[place:], text[:place] + rng.choice(NASTY) + text[place:], text.replace(" ", "  "),
            text.replace(" ", "\u00a0"), text + " " + text, f"It is {text}.", text[:place], text.replace("'", "")))
    return text


def _words(rng):
    parts = []
    for _ in range(rng.randint(0, 6)):
        kind = rng.random()
        if kind < 0.5:
            word = rng.choice(WORDS)
            parts.append(rng.choice((word, word, word.upper(), word.title())))
        elif kind < 0.7:
            parts.append("".join(rng.choice([*MARKS, ".", "'", "'s"]) for _ in range(rng.randint(1, 3))))
        elif kind < 0.8:
            parts.append(str(rng.randint(0, 2000)) + rng.choice(("", ".", ".5", ",000", "%", "'s")))
        elif kind < 0.9:
            parts.append(rng.choice(NASTY))
        else:
            first, last = rng.choice(((32, 126), (0xA0, 0x24FF), (0x1E00, 0x1FFF), (0x1F300, 0x1F5FF)))
            parts.append("".join(chr(rng.randint(first, last)) for _ in range(rng.randint(1, 4))))
        parts.append(rng.choice(("", " ", " ", " ", "  ")))
    return "".join(parts)


def _letters(rng, question):
    options = question.options or {"A": "red", "B": "blue"}
    right = [one for one in question.correct if one in options]
    letter = right[0] if right and rng.random() < 0.7 else rng.choice([*options, *options, "A", "B", "D", "E", "a"])
    return rng.choice(LETTERS).format(letter, options.get(letter, "none of these"))


def random_answer(rng, question):
    """One answer to a question; which kinds are frequent depends on what was asked."""
    kind = rng.random()
    right = rng.choice(question.correct)
    if kind < 0.35:
        return right
    if kind < 0.6:
        return _near(rng, right)
    if kind < 0.65:
        return rng.choice(("", " ", "\n", "\t", ".", "..", ",", "?", "'s", "the", "A an the", "-", "\u00a0"))
    if kind < 0.72:
        return _words(rng)
    if question.options:
        return _letters(rng, question) if kind < 0.95 else rng.choice(YES_NO)
    if right.lower() in ("yes", "no"):
        return rng.choice(YES_NO) if kind < 0.95 else _letters(rng, question)
    return _words(rng) if kind < 0.9 else rng.choice((_letters(rng, question), rng.choice(YES_NO), _near(rng, right)))
