"""Texts that tokenizers trip over: scripts, marks, white space, emoji, code, numbers, special tokens; from a seed."""

import unicodedata

PHRASES = """The quick brown fox isn't jumping over 13 lazy dogs, is it? I'm sure you'll see we've DON'T they'RE he'D
Les élèves ont mangé à Noël où ça coûte 3,50 € l’été déjà vu Straße über Größe naïve façade Ærøskøbing señor São
Съешь же ещё этих мягких французских булок да выпей чаю Ёлка йод Київ їжак
Ζαφείρι δέξου πάγκαλο βαθῶν ψυχῆς τὸ σῆμα ὀδυσσεύς
视觉语言模型只需要更少的计算就能看见图像中的文字 图片里有几个人？ 一二三 ２０２４年
吾輩は猫である。名前はまだ無い。カタカナ ｶﾀｶﾅ がぎぐ ぱぴぷ
모든 인간은 태어날 때부터 자유로우며 한글 값
كل الناس يولدون أحرارا ومتساوين ١٢٣ العَرَبِيَّة
כל בני האדם נולדו בני חורין שָׁלוֹם
सभी मनुष्यों को गौरव और अधिकारों क़ ख़ १२३ நான் தமிழ் பேசுகிறேன் বাংলা ভাষা ౧౨౩ తెలుగు ಕನ್ನಡ മലയാളം සිංහල
ทุกคนเกิดมามีอิสระ กำลัง ๑๒๓ ພາສາລາວ မြန်မာဘာသာ ភាសាខ្មែរ
Tiếng Việt Nguyễn đường phố ở đâu ẩm thực የኢትዮጵያ ქართული Հայերեն ᏣᎳᎩ ᠮᠣᠩᠭᠣᠯ བོད་སྐད
def f(x): return [i**2 for i in range(10) if i%3!=0]  # squares
if (a&&b||!c) { std::cout << "x=" << x[i]->y <<'\\n'; }
	for(int i=0;i<n;++i){	sum+=a[i]*b[i];	}
{"id": 1, "text": "a\\u00e9", "values": [1.5e-3, -2, null]}  https://example.org/a?b=c&d=%20#e  user@host.example
3.14159 1,000,000 0x1F 1e10 ½ ² Ⅷ ① 12:30 2024-01-31 +49-30-1234 $9.99 50% n° 5 #7""".split("\n")
CONTRACTIONS = [
    "'s", "'S", "'t", "'RE", "'ve", "'M", "'ll", "'D", "\u2019s", "'\u017f", "s'", "''s", "'l", "'x", "\u212a", "K",
]
SPACES = [
    chr(c)
    for c in (
        *range(0x09, 0x0E), *range(0x1C, 0x21), 0x85, 0xA0, 0x1680, 0x180E, *range(0x2000, 0x2010), 0x2028, 0x2029,
        0x202F, 0x205F, 0x2060, 0x3000, 0xFEFF,
    )
] + ["\r\n", "\n\n", "  ", "    ", "\u2581", "\u2581\u2581"]
EMOJI = [
    "\U0001f600", "\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f44d\U0001f3fd", "\U0001f1e9\U0001f1ea",
    "\u2764\ufe0f", "1\ufe0f\u20e3", "\U0001f3f4\U000e0067\U000e0062\U000e007f",
    "\U0001f9d1\U0001f3ff\u200d\U0001f692", "\u263a", "\U0001fae8",
]
# What normalization is about: pairs that compose, singletons, exclusions from composition, Hangul, marks of all classes.
ODD = [
    "e\u0301", "\u0065\u0323\u0302", "\u212b", "\u2126", "\u0344", "\u0958", "\u0915\u093c", "\ufb1d", "\ufb2c",
    "\U0001d15e", "\u1100\u1161\u11a8", "\uac00\u11a8", "\uac01\u11a8", "\u1112\u1175", "\u09c7\u09be", "\u0b47\u0b56",
    "\u0dd9\u0dcf\u0dca", "\u1e0b\u0323", "\u0308\u0301", "\u03b1\u0345\u0301", "\u0f71\u0f72", "\u0f73", "\u2adc",
    "\uf900", "\U0002f800", "\U00011935\U00011930", "\U000110a5\U000110ba", "a\u0898\u0327",
    "a\u0327\u05b0\u0301\u0334",
]
RANGES = [
    (0x00, 0x7F), (0x80, 0x24F), (0x250, 0x36F), (0x370, 0x5FF), (0x600, 0x8FF), (0x900, 0x109F), (0x10A0, 0x13FF),
    (0x1400, 0x1CFF), (0x1D00, 0x1FFF), (0x2000, 0x2BFF), (0x2C00, 0x31FF), (0x3200, 0x4DFF), (0x4E00, 0x9FFF),
    (0xA000, 0xABFF), (0xAC00, 0xD7FF), (0xE000, 0xF8FF), (0xF900, 0xFFFF), (0x10000, 0x11FFF), (0x12000, 0x1BFFF),
    (0x1C000, 0x1F2FF), (0x1F300, 0x1FAFF), (0x20000, 0x323AF), (0xE0000, 0xE01EF), (0xFFF00, 0x10FFFF),
]


def scalars():
    return (c for c in range(0x110000) if not 0xD800 <= c < 0xE000)


MARKS = [chr(c) for c in scalars() if unicodedata.combining(chr(c))]
DECOMPOSED = [chr(c) for c in scalars() if unicodedata.decomposition(chr(c))]


def piece(rng, specials):
    kind = rng.randrange(20)
    if kind < 6:
        words = rng.choice(PHRASES).split(" ")
        first = rng.randrange(len(words))
        return " ".join(words[first : first + rng.randint(1, 5)])
    if kind < 8:
        return "".join(rng.choice(SPACES) for _ in range(rng.choice([1, 1, 2, 3, 8])))
    if kind < 11 and specials:
        token = rng.choice(specials)
        return rng.choice(
            [token, token, token + " ", " " + token, token * 2, token[:-1], token[1:], token + rng.choice(SPACES) * 2]
        )
    if kind < 12:
        return rng.choice(["I", "we", "don", "IT", "é", "5", " "]) + rng.choice(CONTRACTIONS)
    if kind < 13:
        return "".join(rng.choice("0123456789.,-+/ ") for _ in range(rng.randint(1, 9)))
    if kind < 14:
        return rng.choice(EMOJI)
    if kind < 15:
        return rng.choice(ODD)
    if kind < 16:
        base = rng.choice(["a", "Q", "\u05d0", "\u0915", "\u1100", " ", ""]) + rng.choice(["", rng.choice(DECOMPOSED)])
        return base + "".join(rng.choice(MARKS) for _ in range(rng.randint(1, 4)))
    if kind < 17:
        return "".join(rng.choice("(){}[]<>|\\/+-*=_#@!?;:,.\"'`~^&%$ \n\t") for _ in range(rng.randint(1, 8)))
    if kind < 18:
        return "".join(rng.choice("abcdefgh ABCXYZ") for _ in range(rng.randint(1, 12)))
    low, high = rng.choice(RANGES)
    return "".join(
        c for c in (chr(rng.randint(low, high)) for _ in range(rng.randint(1, 4))) if not "\ud800" <= c < "\ue000"
    )


def random_text(rng, specials):
    """Up to a dozen pieces, some with blanks between."""
    return "".join(
        piece(rng, specials) + (" " if rng.random() < 0.3 else "") for _ in range(rng.choice([0, 1, 2, 3, 4, 6, 8, 12]))
    )


def every_code_point(each=400):
    """Each scalar value between a letter and a digit, many to a text; of the planes without characters one in 97."""
    every = [chr(c) for c in scalars() if c < 0x33480 or 0xE0000 <= c < 0xE0200 or c % 97 == 0]
    return ["".join(f"a{c}7" for c in every[i : i + each]) for i in range(0, len(every), each)]


def corpus(rng, lines):
    """Something to train on: phrases in pieces, words more often than whole sentences."""
    return [
        " ".join(rng.choice(rng.choice(PHRASES).split(" ")) for _ in range(rng.randint(3, 12))) for _ in range(lines)
    ] + PHRASES
