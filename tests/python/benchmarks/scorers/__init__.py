"""score(files, answers, protocol, rule) -> {"score", "count", "categories"} of each benchmark, after the published rules."""
from . import gqa, mmbench, mme, pope, scienceqa, textvqa, vqav2

SCORERS = {"vqav2": vqav2, "gqa": gqa, "scienceqa": scienceqa, "textvqa": textvqa, "pope": pope, "mme": mme, "mmbench": mmbench}


def score(files, answers, protocol="llava", rule=None):
    """Scores are fractions, MME's points. Raises common.BadData where the files do not fit together."""
    return SCORERS[files.benchmark].score(files, answers, protocol, rule)
