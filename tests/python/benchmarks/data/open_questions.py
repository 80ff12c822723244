"""VQAv2, GQA and TextVQA: open questions about images."""
from . import images
from .files import SHORT, Files, Question, write_json, write_json_lines


def vqav2(folder, rows, official_questions=False):
    """Rows {id, image_id, question, answers, question_type, answer_type}; an annotated split: LLaVA's question file, or the
    official questions JSON, and the official annotations."""
    picture = "COCO_val2014_{:012d}.jpg".format
    questions = write_json_lines(folder / "llava_vqav2_mscoco_val2014.jsonl", [
        {"question_id": row["id"], "image": picture(row["image_id"]), "text": row["question"] + SHORT, "category": "default"}
        for row in rows])
    head = {"info": {"description": "", "version": "2.0"}, "license": {}, "data_subtype": "val2014"}
    official = write_json(folder / "v2_OpenEnded_mscoco_val2014_questions.json", {
        **head, "task_type": "Open-Ended", "data_type": "mscoco",
        "questions": [{"image_id": row["image_id"], "question": row["question"], "question_id": row["id"]} for row in rows]})
    annotations = write_json(folder / "v2_mscoco_val2014_annotations.json", {
        **head, "data_type": "mscoco",
        "annotations": [{
            "question_type": row["question_type"], "multiple_choice_answer": row["answers"][0],
            "answers": [{"answer": one, "answer_confidence": "yes", "answer_id": number + 1}
                        for number, one in enumerate(row["answers"])],
            "image_id": row["image_id"], "answer_type": row["answer_type"], "question_id": row["id"]} for row in rows]})
    images.write(folder / "val2014", [picture(row["image_id"]) for row in rows])
    asked = [Question(row["id"], row["question"] + SHORT, row["answers"]) for row in rows]
    return Files("vqav2", official if official_questions else questions, [annotations], folder / "val2014", asked)


def vqav2_test(folder, asked, full):
    """Test split: the questions asked, and the full list; both lists of (id, image_id, question). Without annotations."""
    picture = "COCO_test2015_{:012d}.jpg".format
    for name, rows in (("llava_vqav2_mscoco_test-dev2015.jsonl", asked), ("llava_vqav2_mscoco_test2015.jsonl", full)):
        write_json_lines(folder / name, [
            {"question_id": one, "image": picture(image), "text": question + SHORT, "category": "default"}
            for one, image, question in rows])
    images.write(folder / "test2015", [picture(image) for _, image, _ in full])
    return Files("vqav2", folder / "llava_vqav2_mscoco_test-dev2015.jsonl", [], folder / "test2015",
                 [Question(one, question + SHORT) for one, _, question in asked])


def gqa(folder, rows, not_asked=()):
    """Rows {id, image, question, answer, structural, balanced}; `not_asked` are further rows of the annotations alone."""
    def annotation(row):
        return {"semantic": [{"operation": "select", "dependencies": [], "argument": "scene"}], "entailed": [],
                "equivalent": [row["id"]], "question": row["question"], "imageId": row["image"], "isBalanced": row["balanced"],
                "groups": {"global": "", "local": "10q-scene"}, "answer": row["answer"], "semanticStr": "select: scene",
                "annotations": {"answer": {}, "question": {}, "fullAnswer": {}},
                "types": {"detailed": "place", "semantic": "global", "structural": row["structural"]},
                "fullAnswer": row["answer"]}

    questions = write_json_lines(folder / "llava_gqa_testdev_balanced.jsonl", [
        {"question_id": row["id"], "image": f"{row['image']}.jpg", "text": row["question"] + SHORT, "category": "default"}
        for row in rows])
    annotations = write_json(folder / "testdev_balanced_questions.json",
                             {row["id"]: annotation(row) for row in [*rows, *not_asked]})
    images.write(folder / "images", [f"{row['image']}.jpg" for row in rows])
    return Files("gqa", questions, [annotations], folder / "images",
                 [Question(row["id"], row["question"] + SHORT, [row["answer"]]) for row in rows])


def textvqa(folder, rows, ocr=True, repeated=()):
    """Rows {image_id, question, answers, tokens}, an image may have several questions; `repeated` are further annotations that
    follow them. With `ocr` the prompts carry the OCR line, empty or not."""
    def prompt(row):
        return row["question"] + (f"\nReference OCR token: {', '.join(row['tokens'])}" if ocr else "") + SHORT

    name = "llava_textvqa_val_v051_ocr.jsonl" if ocr else "llava_textvqa_val_v051.jsonl"
    questions = write_json_lines(folder / name, [
        {"question_id": row["image_id"], "image": f"{row['image_id']}.jpg", "text": prompt(row), "category": "default"}
        for row in rows])
    annotations = write_json(folder / "TextVQA_0.5.1_val.json", {
        "dataset_type": "val", "dataset_name": "textvqa", "dataset_version": "0.5.1",
        "data": [{"question": row["question"], "image_id": row["image_id"], "image_classes": ["Sign"],
                  "flickr_original_url": "", "flickr_300k_url": "", "image_width": 2, "image_height": 2,
                  "answers": row["answers"], "question_tokens": row["question"].lower().split(), "question_id": 34602 + number,
                  "set_name": "val"} for number, row in enumerate([*rows, *repeated])]})
    images.write(folder / "train_images", [f"{row['image_id']}.jpg" for row in rows])
    return Files("textvqa", questions, [annotations], folder / "train_images",
                 [Question(row["image_id"], prompt(row), row["answers"]) for row in rows])
