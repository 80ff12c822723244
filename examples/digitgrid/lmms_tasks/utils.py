"""What the two tasks' YAML files name: the demo's pictures, and its annotations through lmms-eval's own scorers."""
import copy
import functools
import json
import pathlib

from PIL import Image

from lmms_eval.tasks.pope.utils import (  # noqa: F401  (the aggregations are named in the YAML file)
    pope_aggregate_accuracy,
    pope_aggregate_f1_score,
    pope_aggregate_precision,
    pope_aggregate_recall,
    pope_aggregate_yes_ratio,
    pope_process_results,
)
from lmms_eval.tasks.vqav2.utils import vqav2_process_results_val

DATA = pathlib.Path(__file__).resolve().parents[1] / "data"


def picture(doc):
    with Image.open(DATA / "test" / "images" / doc["image"]) as image:
        return [image.convert("RGB")]


def pope_results(doc, results):
    return pope_process_results({"question_id": doc["question_id"], "answer": doc["label"]}, results)


@functools.cache
def annotations():
    with open(DATA / "benchmarks" / "vqav2" / "v2_digitgrid_val_annotations.json") as file:
        return {one["question_id"]: one for one in json.load(file)["annotations"]}


def vqav2_target(doc):
    return annotations()[doc["question_id"]]["multiple_choice_answer"]


def vqav2_results(doc, results):
    # lmms-eval's scorer writes into the answers.
    return vqav2_process_results_val({"question_id": doc["question_id"], "answers": copy.deepcopy(annotations()[doc["question_id"]]["answers"])}, results)
