"""write_checkpoint.py JOBS IMAGE...: small checkpoints as this version of transformers writes them (model, processor, tokenizer).
JOBS is a JSON file: [{"kind": a key of KINDS, "folder", "changes": to the config, by dotted keys}]. Beside each folder,
expected.safetensors says what transformers makes of a question about each image: "ids.K", "pixels.K", "logits.K", and "grid.K"
(image_grid_thw) or "sizes.K" (image_sizes) where the family has them.

load_checkpoint.py's counterpart; both are run by test_versions.py under each version.
"""
import functools
import json
import pathlib
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1]), str(pathlib.Path(__file__).resolve().parents[3] / "benchmarks")]
import torch_cpu  # noqa: E402, F401  (before torch)
import torch  # noqa: E402
import transformers  # noqa: E402
from PIL import Image  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from make_tokenizer import make_tokenizer  # noqa: E402

FIVE = int(transformers.__version__.split(".")[0]) >= 5
QUESTION = "What is in the image?"
CLIP_TEMPLATE = ("{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}"
                 "{# Render all images first #}{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
                 "{{ '<image>\n' }}{% endfor %}{# Render all text next #}{% if message['role'] != 'assistant' %}"
                 "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}{% endfor %}"
                 "{% else %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{% generation %}"
                 "{{ content['text'] + ' '}}{% endgeneration %}{% endfor %}{% endif %}{% endfor %}"
                 "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}")


def change(config, changes):
    for key, value in changes.items():
        *path, last = key.split(".")
        place = config
        for part in path:
            place = place.setdefault(part, {})
        if value is None:
            place.pop(last, None)
        else:
            place[last] = value
    return config


def draw_weights(model):
    generator = torch.Generator().manual_seed(5)
    for name, parameter in sorted(model.named_parameters()):
        parameter.data.normal_(0, 0.15, generator=generator)
        if parameter.dim() == 1 and name.endswith("weight"):
            parameter.data.add_(1)


def llava_config():
    text = dict(model_type="llama", architectures=["LlamaForCausalLM"], hidden_size=64, intermediate_size=96, num_hidden_layers=3,
                num_attention_heads=4, num_key_value_heads=2, vocab_size=1700, max_position_embeddings=256, bos_token_id=1,
                eos_token_id=2)
    vision = dict(model_type="clip_vision_model", hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2,
                  image_size=28, patch_size=7)
    return dict(model_type="llava", architectures=["LlavaForConditionalGeneration"], text_config=text, vision_config=vision,
                image_token_index=1690, image_seq_length=16, pad_token_id=1691, tie_word_embeddings=False)


def llava_next_config():
    return {**llava_config(), "model_type": "llava_next", "architectures": ["LlavaNextForConditionalGeneration"],
            "image_grid_pinpoints": [[28, 56], [56, 28], [56, 56]]}


def qwen2_vl_config():
    rope = dict(type="mrope", mrope_section=[2, 3, 3])
    text = dict(model_type="qwen2_vl_text", hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
                num_key_value_heads=2, vocab_size=1664, max_position_embeddings=512, bos_token_id=1600, eos_token_id=1602)
    text.update(dict(rope_parameters=dict(rope, rope_theta=1000000.0, rope_type="default")) if FIVE else
                dict(rope_scaling=rope, rope_theta=1000000.0))
    vision = dict(model_type="qwen2_vl" if not FIVE else "qwen2_vl_vision", depth=2, embed_dim=32, hidden_size=64, num_heads=2,
                  mlp_ratio=2, in_channels=3, patch_size=14, temporal_patch_size=2, spatial_merge_size=2)
    return dict(model_type="qwen2_vl", architectures=["Qwen2VLForConditionalGeneration"], text_config=text, vision_config=vision,
                bos_token_id=1600, eos_token_id=1602, vision_start_token_id=1609, vision_end_token_id=1610, vision_token_id=1611,
                image_token_id=1612, video_token_id=1613, tie_word_embeddings=False)


def qwen2_5_vl_config():
    """Of two blocks of the tower the first attends within windows of 2 x 2 tokens."""
    config = qwen2_vl_config()
    config.update(model_type="qwen2_5_vl", architectures=["Qwen2_5_VLForConditionalGeneration"])
    config["text_config"]["model_type"] = "qwen2_5_vl_text"
    config["vision_config"] = dict(
        model_type="qwen2_5_vl" if not FIVE else "qwen2_5_vl_vision", depth=2, hidden_size=32, intermediate_size=56, num_heads=2,
        out_hidden_size=64, in_channels=3, patch_size=14, temporal_patch_size=2, spatial_merge_size=2, window_size=56,
        fullatt_block_indexes=[1], hidden_act="silu")
    return config


def qwen3_vl_config():
    """Features of two of the tower's blocks are added behind the first two layers of the decoder."""
    config = qwen2_vl_config()
    config.update(model_type="qwen3_vl", architectures=["Qwen3VLForConditionalGeneration"])
    for key in ("bos_token_id", "eos_token_id", "vision_token_id"):  # text_config has them
        del config[key]
    text = config["text_config"]
    rope = dict(rope_type="default", mrope_section=[2, 3, 3], mrope_interleaved=True)
    text.update(model_type="qwen3_vl_text", head_dim=16)
    text.update(dict(rope_parameters=dict(rope, rope_theta=5000000.0)) if FIVE else dict(rope_scaling=rope, rope_theta=5000000.0))
    config["vision_config"] = dict(
        model_type="qwen3_vl" if not FIVE else "qwen3_vl_vision", depth=4, hidden_size=32, intermediate_size=48, num_heads=2,
        out_hidden_size=64, in_channels=3, patch_size=14, temporal_patch_size=2, spatial_merge_size=2, num_position_embeddings=36,
        deepstack_visual_indexes=[0, 2], hidden_act="gelu_pytorch_tanh")
    return config


def llava_processor(folder):
    from transformers import AutoTokenizer, LlavaProcessor
    tokenizer = AutoTokenizer.from_pretrained(folder)
    # Under version 4 Pillow's LlavaImageProcessor pads to a square, too.
    images = transformers.LlavaImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}, do_pad=True,
                                              image_mean=[0.5, 0.4, 0.3], image_std=[0.25, 0.5, 0.3])
    return LlavaProcessor(image_processor=images, tokenizer=tokenizer, patch_size=7, vision_feature_select_strategy="default",
                          num_additional_image_tokens=1, chat_template=CLIP_TEMPLATE)


def llava_next_processor(folder):
    from transformers import AutoTokenizer
    images = transformers.LlavaNextImageProcessor(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}, image_grid_pinpoints=[[28, 56], [56, 28], [56, 56]],
        image_mean=[0.5, 0.4, 0.3], image_std=[0.25, 0.5, 0.3])
    return transformers.LlavaNextProcessor(
        image_processor=images, tokenizer=AutoTokenizer.from_pretrained(folder), patch_size=7,
        vision_feature_select_strategy="default", num_additional_image_tokens=1, chat_template=CLIP_TEMPLATE)


def qwen_processor(folder, family="Qwen2VL"):
    """`family`: of the processor's class; the image processor is Qwen2-VL's in all of them."""
    from test_tokenizers import QWEN2_VL_TEMPLATE
    from transformers import AutoTokenizer
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
    kind = getattr(transformers, f"{family}Processor")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    sizes = dict(size={"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 40}, image_mean=[0.5, 0.4, 0.3], image_std=[0.25, 0.5, 0.3])
    if FIVE:
        video = "Qwen3VL" if family == "Qwen3VL" else "Qwen2VL"
        return kind(image_processor=Qwen2VLImageProcessor(**sizes), tokenizer=tokenizer,
                    video_processor=getattr(transformers, f"{video}VideoProcessor")(), chat_template=QWEN2_VL_TEMPLATE)
    # Version 4's video processor wants a torchvision of its own time, and no video is asked about.
    processor = kind.__new__(kind)
    bounds = sizes.pop("size")
    processor.image_processor = Qwen2VLImageProcessor(min_pixels=bounds["shortest_edge"], max_pixels=bounds["longest_edge"], **sizes)
    processor.tokenizer, processor.video_processor, processor.chat_template = tokenizer, None, QWEN2_VL_TEMPLATE
    processor.image_token, processor.video_token = "<|image_pad|>", "<|video_pad|>"
    processor.image_token_id, processor.video_token_id = 1612, 1613
    return processor


KINDS = {
    "llava": (llava_config, "LlavaForConditionalGeneration", "LlavaConfig", llava_processor),
    "llava_next": (llava_next_config, "LlavaNextForConditionalGeneration", "LlavaNextConfig", llava_next_processor),
    "qwen2_vl": (qwen2_vl_config, "Qwen2VLForConditionalGeneration", "Qwen2VLConfig", qwen_processor),
    "qwen2_5_vl": (qwen2_5_vl_config, "Qwen2_5_VLForConditionalGeneration", "Qwen2_5_VLConfig",
                   functools.partial(qwen_processor, family="Qwen2_5_VL")),
    "qwen3_vl": (qwen3_vl_config, "Qwen3VLForConditionalGeneration", "Qwen3VLConfig",
                 functools.partial(qwen_processor, family="Qwen3VL")),
}


def save_processor(processor, folder):
    """processor.save_pretrained, but for what cannot be saved without a video processor."""
    if FIVE or getattr(processor, "video_processor", None) is not None or not hasattr(processor, "video_processor"):
        processor.save_pretrained(folder)
        return
    processor.image_processor.save_pretrained(folder)
    processor.tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(processor.chat_template)


@torch.no_grad()
def write(kind, folder, changes, images):
    make_config, model_class, config_class, make_processor = KINDS[kind]
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(make_config()))
    make_tokenizer(folder)
    tokenizer_only = folder.parent / "tokenizer"
    folder.rename(tokenizer_only)
    processor = make_processor(tokenizer_only)
    config = getattr(transformers, config_class)(**change(make_config(), changes))
    model = getattr(transformers, model_class)._from_config(config, attn_implementation="eager").eval()
    draw_weights(model)
    model.save_pretrained(folder)
    save_processor(processor, folder)
    expected = {}
    for k, image in enumerate(images):
        content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
        prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        inputs = processor(text=[prompt], images=[Image.open(image).convert("RGB")], return_tensors="pt")
        expected[f"ids.{k}"] = inputs["input_ids"][0].contiguous()
        expected[f"pixels.{k}"] = inputs["pixel_values"].contiguous()
        for name, short in (("image_grid_thw", "grid"), ("image_sizes", "sizes")):
            if name in inputs:
                expected[f"{short}.{k}"] = inputs[name].contiguous()
        expected[f"logits.{k}"] = model(**inputs).logits[0].contiguous()
    save_file(expected, folder.parent / "expected.safetensors")


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    for job in json.loads(pathlib.Path(sys.argv[1]).read_text()):
        write(job["kind"], job["folder"], job["changes"], sys.argv[2:])
