"""answer_prompts.py JOBS: small checkpoints as this version of transformers writes them, and its greedy answers to questions about
images, one question at a time. JOBS is a JSON file: [{"kind": a key of KINDS, "folder", "prompts": [{"text", "images": paths}],
"count": tokens of an answer at most}]. Beside each folder, answers.json gets for each prompt "ids" of the prompt, "tokens" of the
answer without the one that ends it, "stopped" if there was one, its "text", and "margin": how far the best logit stood above the second, in shares of the largest, where that was least.
"""
import json
import pathlib
import sys

from kinds import make_checkpoint, model_inputs
import torch
import transformers


@torch.no_grad()
def answer(kind, folder, prompts, count):
    folder = pathlib.Path(folder)
    model, processor = make_checkpoint(kind, folder, {})
    answers = []
    for prompt in prompts:
        inputs = model_inputs(processor, prompt["text"], prompt["images"])
        made = model.generate(**inputs, max_new_tokens=count, do_sample=False, output_logits=True, return_dict_in_generate=True)
        tokens = made.sequences[0, inputs["input_ids"].shape[1]:]
        stopped = tokens[-1].item() == model.generation_config.eos_token_id
        best = [row[0].topk(2).values for row in made.logits]
        answers.append({"ids": inputs["input_ids"][0].tolist(), "tokens": tokens.tolist()[:len(tokens) - stopped], "stopped": stopped,
                        "text": processor.tokenizer.decode(tokens, skip_special_tokens=True).strip(),
                        "margin": min(((one - two) / row.abs().max()).item() for (one, two), row in zip(best, made.logits))})
    (folder.parent / "answers.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    for job in json.loads(pathlib.Path(sys.argv[1]).read_text()):
        answer(**job)
