"""InternVL3 in its original layout, InternVLChatModel: its files, its prompts and pictures. transformers has no such class (the
published one lies beside the weights, as remote code), so what to expect comes from transformers' own InternVL with the same weights;
the rules of the published conversation and of its tiles are stated again here and in test_image_processors.py."""
import json

import torch
from safetensors.torch import save_file

SYSTEM = "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。"
# transformers' names of the tower's tensors, and the original ones.
TOWER = (("cls_token", "class_embedding"), ("patch_embeddings.projection.", "patch_embedding."),
         ("position_embeddings", "position_embedding"), ("encoder.layer.", "encoder.layers."),
         (".attention.projection_layer.", ".attn.proj."), (".attention.", ".attn."), (".layernorm_before.", ".norm1."),
         (".layernorm_after.", ".norm2."), (".lambda_1", ".ls1"), (".lambda_2", ".ls2"))
PROJECTOR = (("layer_norm", "mlp1.0"), ("linear_1", "mlp1.1"), ("linear_2", "mlp1.3"))


def config_of(config):
    """From the config of the same model in transformers' layout."""
    text, vision = dict(config["text_config"]), dict(config["vision_config"])
    text.update(architectures=["Qwen3ForCausalLM" if text["model_type"] == "qwen3" else "Qwen2ForCausalLM"], rope_theta=1000000.0,
                tie_word_embeddings=False)
    text.pop("rope_parameters", None)
    (side, _), (patch, _) = vision["image_size"], vision["patch_size"]
    vision.update(model_type="intern_vit_6b", architectures=["InternVisionModel"], image_size=side, patch_size=patch,
                  qkv_bias=vision.pop("attention_bias"), qk_normalization=vision.pop("use_qk_norm"))
    return dict(architectures=["InternVLChatModel"], model_type="internvl_chat", llm_config=text, vision_config=vision,
                downsample_ratio=0.5, ps_version="v2", select_layer=-1, force_image_size=side, dynamic_image_size=True,
                use_thumbnail=True, min_dynamic_patch=1, max_dynamic_patch=12, template="internvl2_5", tie_word_embeddings=False)


def original_name(name):
    if name.startswith("model.vision_tower."):
        name = name.replace("model.vision_tower.", "vision_model.")
        for new, old in TOWER:
            name = name.replace(new, old)
        return name
    for new, old in PROJECTOR:
        name = name.replace(f"model.multi_modal_projector.{new}", old)
    return name.replace("model.language_model.", "language_model.model.").replace("lm_head", "language_model.lm_head", 1)


def original_tensors(state):
    """From the tensors of transformers' model; q, k and v of the tower are one tensor in the original layout."""
    out = {}
    for name, tensor in state.items():
        old = original_name(name)
        if not old.startswith("vision_model.") or not any(f".{c}_proj." in old for c in "qkv"):
            out[old] = tensor.clone()
        elif ".q_proj." in old:
            out[old.replace(".q_proj.", ".qkv.")] = torch.cat([state[name.replace(".q_proj.", f".{c}_proj.")] for c in "qkv"])
    return out


def tensors_for(model, original):
    """A state of transformers' model from tensors in the original layout, and which of these it has no place for."""
    state, used = {}, set()
    for name in model.state_dict():
        old = original_name(name)
        part = next((i for i, c in enumerate("qkv") if old.startswith("vision_model.") and f".{c}_proj." in old), None)
        if part is not None:
            old = old.replace(f".{'qkv'[part]}_proj.", ".qkv.")
        if old in original:
            state[name] = original[old] if part is None else original[old].chunk(3)[part]
            used.add(old)
    return state, sorted(set(original) - used)


class Processor:
    """Prompts as the published conversation writes them, images in front; called as transformers' processors are."""

    def __init__(self, tokenizer, config):
        self.tokenizer, self.config = tokenizer, config_of(config)
        self.each = (self.config["force_image_size"] // self.config["vision_config"]["patch_size"]) ** 2 // 4

    def apply_chat_template(self, messages, add_generation_prompt):
        assert add_generation_prompt
        (message,) = messages
        turn = "".join("<image>\n" if part["type"] == "image" else part["text"] for part in message["content"])
        return f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{turn}<|im_end|>\n<|im_start|>assistant\n"

    def __call__(self, text, images, return_tensors):
        from test_image_processors import internvl_reference
        (text,), (images,) = text, images
        pixels = [torch.from_numpy(internvl_reference(self.config, image)) for image in images]
        for tiles in pixels:
            text = text.replace("<image>", "<img>" + "<IMG_CONTEXT>" * (self.each * len(tiles)) + "</img>", 1)
        return {**self.tokenizer([text], return_tensors=return_tensors), "pixel_values": torch.cat(pixels)}

    def save_pretrained(self, folder):
        self.tokenizer.save_pretrained(folder)
        side = self.config["force_image_size"]
        rules = dict(crop_size=side, do_center_crop=True, do_normalize=True, do_resize=True, feature_extractor_type="CLIPFeatureExtractor",
                     image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225], resample=3, size=side)
        (folder / "preprocessor_config.json").write_text(json.dumps(rules))


def save_model(model, processor, folder):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(processor.config))
    save_file(original_tensors(model.state_dict()), folder / "model.safetensors", {"format": "pt"})
