"""The two normalisers of VQA answers, EvalAI's and the official VQA scorer's, and the soft accuracy over ten annotators."""
import re

# On the left as annotators wrote them. "somebody'd" loses its apostrophe, and the capitalised ones never match lower-cased
# text: both scorers have it so.
_CONTRACTIONS = """
aint:ain't arent:aren't cant:can't couldve:could've couldnt:couldn't couldn'tve:couldn't've couldnt've:couldn't've didnt:didn't
doesnt:doesn't dont:don't hadnt:hadn't hadnt've:hadn't've hadn'tve:hadn't've hasnt:hasn't havent:haven't hed:he'd hed've:he'd've
he'dve:he'd've hes:he's howd:how'd howll:how'll hows:how's Id've:I'd've I'dve:I'd've Im:I'm Ive:I've isnt:isn't itd:it'd
itd've:it'd've it'dve:it'd've itll:it'll let's:let's maam:ma'am mightnt:mightn't mightnt've:mightn't've mightn'tve:mightn't've
mightve:might've mustnt:mustn't mustve:must've neednt:needn't notve:not've oclock:o'clock oughtnt:oughtn't ow's'at:'ow's'at
'ows'at:'ow's'at 'ow'sat:'ow's'at shant:shan't shed've:she'd've she'dve:she'd've she's:she's shouldve:should've
shouldnt:shouldn't shouldnt've:shouldn't've shouldn'tve:shouldn't've somebody'd:somebodyd somebodyd've:somebody'd've
somebody'dve:somebody'd've somebodyll:somebody'll somebodys:somebody's someoned:someone'd someoned've:someone'd've
someone'dve:someone'd've someonell:someone'll someones:someone's somethingd:something'd somethingd've:something'd've
something'dve:something'd've somethingll:something'll thats:that's thered:there'd thered've:there'd've there'dve:there'd've
therere:there're theres:there's theyd:they'd theyd've:they'd've they'dve:they'd've theyll:they'll theyre:they're theyve:they've
twas:'twas wasnt:wasn't wed've:we'd've we'dve:we'd've weve:we've werent:weren't whatll:what'll whatre:what're whats:what's
whatve:what've whens:when's whered:where'd wheres:where's whereve:where've whod:who'd whod've:who'd've who'dve:who'd've
wholl:who'll whos:who's whove:who've whyll:why'll whyre:why're whys:why's wont:won't wouldve:would've wouldnt:wouldn't
wouldnt've:wouldn't've wouldn'tve:wouldn't've yall:y'all yall'll:y'all'll y'allll:y'all'll yall'd've:y'all'd've
y'alld've:y'all'd've y'all'dve:y'all'd've youd:you'd youd've:you'd've you'dve:you'd've youll:you'll youre:you're youve:you've
"""
CONTRACTIONS = dict(pair.split(":") for pair in _CONTRACTIONS.split())
NUMBERS = dict(zip("none zero one two three four five six seven eight nine ten".split(), [0, *range(11)]))
MARKS = ';/[]"{}()=+\\_-><@`,?!'
_REMOVED_DOTS = 32  # the scorers pass re.UNICODE where re.sub takes its count


def _marks(text, digit_comma_digit):
    """Marks become spaces; they vanish where the text as given has the mark beside a space, or a comma between digits."""
    vanish_all = re.search(digit_comma_digit, text) is not None
    result = text
    for mark in MARKS:
        near_space = f"{mark} " in text or f" {mark}" in text
        result = result.replace(mark, "" if vanish_all or near_space else " ")
    # The look-behind is mistyped in both scorers, as a look-ahead for a "<", which a dot never is: only what follows matters.
    return re.sub(r"\.(?!\d)", "", result, count=_REMOVED_DOTS)


def _words(text):
    """Lower case; number words to digits; articles dropped; contractions."""
    words = [str(NUMBERS.get(word, word)) for word in text.lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ("a", "an", "the"))


def _one_line(text):
    return text.replace("\n", " ").replace("\t", " ").strip()


def evalai(text):
    """EvalAI's normaliser, as LLaVA has it (m4c_evaluator)."""
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return _words(_marks(_one_line(text), r"(?<=\d),+(?=\d)"))


def official(text):
    """The official VQA scorer's, after `_one_line`."""
    return _words(_marks(text, r"\d,\d"))


def soft_accuracy(answer, expected):
    """Over the annotators the mean of min(1, matches among the others / 3)."""
    shares = []
    for place in range(len(expected)):
        matches = sum(one == answer for other, one in enumerate(expected) if other != place)
        shares.append(min(1.0, matches / 3))
    return sum(shares) / len(shares)


def official_accuracy(answer, expected):
    """The official VQA scorer: both sides are normalised only where the annotators disagree."""
    answer, expected = _one_line(answer), [_one_line(one) for one in expected]
    if len(set(expected)) > 1:
        answer, expected = official(answer), [official(one) for one in expected]
    return soft_accuracy(answer, expected)


def lmms_vqav2_accuracy(answer, expected):
    """lmms-eval's VQAv2: always normalised, whether the annotators agree or not, and with EvalAI's comma rule."""
    def normal(text):
        return _words(_marks(_one_line(text), r"(?<=\d),+(?=\d)"))

    return soft_accuracy(normal(answer), [normal(one) for one in expected])
