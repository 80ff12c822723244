"""Small checkpoints of every family as this version of transformers makes them: configs, random weights, processors."""
import functools
import json
import pathlib
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1]), str(pathlib.Path(__file__).resolve().parents[3] / "benchmarks")]
import torch_cpu  # noqa: E402, F401  (before torch)
import torch  # noqa: E402
import transformers  # noqa: E402
from PIL import Image  # noqa: E402

import original_internvl  # noqa: E402
from make_tokenizer import make_tokenizer  # noqa: E402
from mend import mend  # noqa: E402

ONEVISION_CANVASES = [[30 * rows, 30 * columns] for rows in range(1, 6) for columns in range(1, 6)]
FIVE = int(transformers.__version__.split(".")[0]) >= 5
CLIP_TEMPLATE = ("{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}"
                 "{# Render all images first #}{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
                 "{{ '<image>\n' }}{% endfor %}{# Render all text next #}{% if message['role'] != 'assistant' %}"
                 "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}{% endfor %}"
                 "{% else %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{% generation %}"
                 "{{ content['text'] + ' '}}{% endgeneration %}{% endfor %}{% endif %}{% endfor %}"
                 "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}")
ONEVISION_TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + ' '}}{# Render all images first #}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{# Render all text next #}{% if message['role'] != 'assistant' %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ '\n' + content['text'] }}{% endfor %}"
    "{% else %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{% generation %}"
    "{{ '\n' + content['text'] }}{% endgeneration %}{% endfor %}{% endif %}{{'<|im_end|>'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
INTERNVL_TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n'}}{% if message['content'] is string %}"
    "{{ message['content'] }}{% else %}{% for content in message['content'] %}{% if content['type'] == 'image' %}"
    "{{ '<IMG_CONTEXT>\n' }}{% elif content['type'] == 'video' %}{{ '<video>\n' }}{% elif content['type'] == 'text' %}"
    "{{ content['text'] }}{% endif %}{% endfor %}{% endif %}{{'<|im_end|>\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{'<|im_start|>assistant\n' }}{% endif %}")


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


def rope(theta):
    """As the version says it."""
    return {"rope_parameters": {"rope_type": "default", "rope_theta": theta}} if FIVE else {"rope_theta": theta}


def qwen_text(kind):
    """Qwen2 or Qwen3 with the plain positions, behind the images of another family."""
    text = dict(model_type=kind, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
                num_key_value_heads=2, vocab_size=1664, max_position_embeddings=1024, bos_token_id=1600, eos_token_id=1602,
                **rope(1000000.0))
    return {**text, "head_dim": 24} if kind == "qwen3" else text


def llava_onevision_config():
    """As published, the tower's tiles are no multiple of its patches, and 5 x 5 tiles are more than anyres_max_9 leaves whole."""
    vision = dict(model_type="siglip_vision_model", hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2,
                  image_size=30, patch_size=7, vision_use_head=False)
    return dict(model_type="llava_onevision", architectures=["LlavaOnevisionForConditionalGeneration"], text_config=qwen_text("qwen2"),
                vision_config=vision, image_token_index=1603, video_token_index=1604, image_grid_pinpoints=ONEVISION_CANVASES,
                vision_aspect_ratio="anyres_max_9", tie_word_embeddings=False)


def internvl_config(language):
    """With Qwen3 comes the large tower's norm: of the queries and keys, too."""
    large = language == "qwen3"
    vision = dict(model_type="internvl_vision", hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
                  image_size=[28, 28], patch_size=[7, 7], attention_bias=not large, use_qk_norm=large,
                  norm_type="rms_norm" if large else "layer_norm")
    return dict(model_type="internvl", architectures=["InternVLForConditionalGeneration"], text_config=qwen_text(language),
                vision_config=vision, image_token_id=1628 if large else 1624, image_seq_length=4, tie_word_embeddings=False)


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


def without_videos(kind, **fields):
    """A processor of version 4, whose video processor wants a torchvision of its own time; no video is asked about."""
    processor = kind.__new__(kind)
    processor.attributes, processor.audio_tokenizer = ["image_processor", "tokenizer"], None
    for name, value in fields.items():
        setattr(processor, name, value)
    return processor


def llava_onevision_processor(folder):
    from transformers import AutoTokenizer, LlavaOnevisionProcessor
    images = transformers.LlavaOnevisionImageProcessor(size={"height": 30, "width": 30}, image_grid_pinpoints=ONEVISION_CANVASES,
                                                       image_mean=[0.5, 0.4, 0.3], image_std=[0.25, 0.5, 0.3])
    shared = dict(image_processor=images, tokenizer=AutoTokenizer.from_pretrained(folder), num_image_tokens=16,
                  vision_feature_select_strategy="full", chat_template=ONEVISION_TEMPLATE, vision_aspect_ratio="anyres_max_9")
    if FIVE:
        return LlavaOnevisionProcessor(video_processor=transformers.LlavaOnevisionVideoProcessor(), **shared)
    return without_videos(LlavaOnevisionProcessor, **shared, image_token="<image>", image_token_id=1603, video_token="<video>",
                          video_token_id=1604)


def internvl_processor(folder):
    from transformers import AutoTokenizer, InternVLProcessor
    tokenizer = AutoTokenizer.from_pretrained(folder)
    images = transformers.GotOcr2ImageProcessor(size={"height": 28, "width": 28}, image_mean=[0.5, 0.4, 0.3],
                                                image_std=[0.25, 0.5, 0.3])
    shared = dict(image_processor=images, tokenizer=tokenizer, image_seq_length=4, chat_template=INTERNVL_TEMPLATE)
    if FIVE:
        return InternVLProcessor(video_processor=transformers.InternVLVideoProcessor(), **shared)
    start, end, context = (tokenizer.convert_tokens_to_ids(token) for token in ("<img>", "</img>", "<IMG_CONTEXT>"))
    return without_videos(InternVLProcessor, **shared, start_image_token="<img>", end_image_token="</img>", start_image_token_id=start,
                          end_image_token_id=end, image_token="<IMG_CONTEXT>", image_token_id=context, video_token="<video>",
                          image_ids=[context, start, end])


def original_internvl_processor(folder, language):
    from transformers import AutoTokenizer
    return original_internvl.Processor(AutoTokenizer.from_pretrained(folder), internvl_config(language))


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
    bounds = sizes.pop("size")
    images = Qwen2VLImageProcessor(min_pixels=bounds["shortest_edge"], max_pixels=bounds["longest_edge"], **sizes)
    return without_videos(kind, image_processor=images, tokenizer=tokenizer, chat_template=QWEN2_VL_TEMPLATE,
                          image_token="<|image_pad|>", image_token_id=1612, video_token="<|video_pad|>", video_token_id=1613)


def internvl_kind(language, original):
    processor = functools.partial(original_internvl_processor, language=language) if original else internvl_processor
    return functools.partial(internvl_config, language), "InternVLForConditionalGeneration", "InternVLConfig", processor


KINDS = {
    "llava": (llava_config, "LlavaForConditionalGeneration", "LlavaConfig", llava_processor),
    "llava_next": (llava_next_config, "LlavaNextForConditionalGeneration", "LlavaNextConfig", llava_next_processor),
    "qwen2_vl": (qwen2_vl_config, "Qwen2VLForConditionalGeneration", "Qwen2VLConfig", qwen_processor),
    "qwen2_5_vl": (qwen2_5_vl_config, "Qwen2_5_VLForConditionalGeneration", "Qwen2_5_VLConfig",
                   functools.partial(qwen_processor, family="Qwen2_5_VL")),
    "qwen3_vl": (qwen3_vl_config, "Qwen3VLForConditionalGeneration", "Qwen3VLConfig",
                 functools.partial(qwen_processor, family="Qwen3VL")),
    "llava_onevision": (llava_onevision_config, "LlavaOnevisionForConditionalGeneration", "LlavaOnevisionConfig",
                        llava_onevision_processor),
    "internvl_qwen2": internvl_kind("qwen2", original=False),
    "internvl_qwen3": internvl_kind("qwen3", original=False),
    "internvl_original_qwen2": internvl_kind("qwen2", original=True),
    "internvl_original_qwen3": internvl_kind("qwen3", original=True),
}


def make_checkpoint(kind, folder, changes):
    """Writes the model and its processor into `folder`, which is not there yet; both are returned. `changes`: to the config."""
    make_config, model_class, config_class, make_processor = KINDS[kind]
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(make_config()))
    make_tokenizer(folder)
    tokenizer_only = folder.parent / "tokenizer"
    folder.rename(tokenizer_only)
    processor = make_processor(tokenizer_only)
    config = getattr(transformers, config_class)(**change(make_config(), changes))
    model = getattr(transformers, model_class)._from_config(config, attn_implementation="eager").eval()
    draw_weights(model)
    if isinstance(processor, original_internvl.Processor):
        original_internvl.save_model(model, processor, folder)
    else:
        model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return mend(model), processor


def model_inputs(processor, text, images):
    """Of one question about image files."""
    content = [{"type": "image"}] * len(images) + [{"type": "text", "text": text}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    opened = [Image.open(image).convert("RGB") for image in images]
    return processor(text=[prompt], images=[opened] if opened else None, return_tensors="pt")
