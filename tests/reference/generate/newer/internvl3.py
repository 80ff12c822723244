"""InternVL3 (Qwen2) and InternVL3.5 (Qwen3): internvl3_qwen2 and internvl3_qwen3 in the original layout, with _hf
behind the name the same weights in transformers' layout. The numbers are those of the class in transformers 5."""

import copy
import os

from decoder import Span, Spec
from newer.family import (
    EVERY_PLAN,
    FEW_PLANS,
    LAYERS,
    TEXT_IDS,
    VOCABULARY,
    Family,
    checks,
    draw_weights,
    numbers,
    prompt,
    random_text,
    read_back,
    write_as_saved,
)
from support import load_file, normal, torch, write_checkpoint

WIDTH, HEADS, KV_HEADS, FFN, TOWER_WIDTH, TOWER_LAYERS, PATCH, GRID = 64, 4, 2, 120, 32, 2, 6, 8
HEAD_DIM = dict(qwen2=16, qwen3=24)
SIDE, MERGED = PATCH * GRID, GRID // 2
COUNT = MERGED * MERGED
CONTEXT, START, END = 300, 301, 302
ADDED = {"<IMG_CONTEXT>": CONTEXT, "<img>": START, "</img>": END}
CASES = dict(single=[1], tiles2_thumb=[3], two_images=[1, 1], text_only=[])  # tiles of each image

# transformers' names of a tower tensor, and the original ones.
TOWER_NAMES = (
    ("cls_token", "class_embedding"),
    ("patch_embeddings.projection.", "patch_embedding."),
    ("position_embeddings", "position_embedding"),
    ("encoder.layer.", "encoder.layers."),
    (".attention.projection_layer.", ".attn.proj."),
    (".attention.", ".attn."),
    (".layernorm_before.", ".norm1."),
    (".layernorm_after.", ".norm2."),
    (".lambda_1", ".ls1"),
    (".lambda_2", ".ls2"),
)
PROJECTOR = dict(layer_norm=0, linear_1=1, linear_2=3)


def text_of(language):
    text = dict(
        architectures=["Qwen2ForCausalLM" if language == "qwen2" else "Qwen3ForCausalLM"],
        model_type=language,
        attention_dropout=0.0,
        bos_token_id=1,
        eos_token_id=2,
        hidden_act="silu",
        hidden_size=WIDTH,
        intermediate_size=FFN,
        max_position_embeddings=32768,
        num_attention_heads=HEADS,
        num_hidden_layers=LAYERS,
        num_key_value_heads=KV_HEADS,
        rms_norm_eps=1e-6,
        rope_theta=1000000.0,
        use_sliding_window=False,
        sliding_window=None,
        max_window_layers=LAYERS,
        tie_word_embeddings=False,
        vocab_size=VOCABULARY,
        torch_dtype="float32",
    )
    if language == "qwen3":
        return text | dict(head_dim=HEAD_DIM[language], attention_bias=False)
    # As published: no effect up to max_position_embeddings.
    return text | dict(rope_scaling=dict(factor=2.0, rope_type="dynamic", type="dynamic"))


def original_config(language):
    vision = dict(
        architectures=["InternVisionModel"],
        model_type="intern_vit_6b",
        hidden_size=TOWER_WIDTH,
        intermediate_size=2 * TOWER_WIDTH,
        num_hidden_layers=TOWER_LAYERS,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=PATCH,
        hidden_act="gelu",
        layer_norm_eps=1e-6,
        norm_type="layer_norm",
        qk_normalization=False,
        qkv_bias=True,
        drop_path_rate=0.0,
        attention_dropout=0.0,
        dropout=0.0,
        num_channels=3,
        use_flash_attn=False,
        initializer_factor=0.1,
        torch_dtype="float32",
    )
    return dict(
        architectures=["InternVLChatModel"],
        model_type="internvl_chat",
        downsample_ratio=0.5,
        dynamic_image_size=True,
        force_image_size=SIDE,
        hidden_size=WIDTH,
        min_dynamic_patch=1,
        max_dynamic_patch=12,
        pad2square=False,
        ps_version="v2",
        select_layer=-1,
        template="internvl2_5",
        use_thumbnail=True,
        use_backbone_lora=0,
        use_llm_lora=0,
        tie_word_embeddings=False,
        llm_config=text_of(language),
        vision_config=vision,
        torch_dtype="float32",
    )


def transformers_config(language):
    text = {name: value for name, value in text_of(language).items() if name != "architectures"}
    vision = dict(
        architectures=["InternVLVisionModel"],
        model_type="internvl_vision",
        attention_bias=True,
        attention_dropout=0.0,
        dropout=0.0,
        hidden_act="gelu",
        hidden_dropout_prob=0.0,
        hidden_size=TOWER_WIDTH,
        image_size=[SIDE, SIDE],
        initializer_factor=0.1,
        initializer_range=0.02,
        intermediate_size=2 * TOWER_WIDTH,
        layer_norm_eps=1e-6,
        layer_scale_init_value=0.1,
        norm_type="layer_norm",
        num_attention_heads=2,
        num_channels=3,
        num_hidden_layers=TOWER_LAYERS,
        patch_size=[PATCH, PATCH],
        projection_dropout=0.0,
        torch_dtype="float32",
        use_absolute_position_embeddings=True,
        use_mask_token=False,
        use_mean_pooling=True,
        use_qk_norm=False,
    )
    return dict(
        architectures=["InternVLForConditionalGeneration"],
        model_type="internvl",
        downsample_ratio=0.5,
        image_seq_length=COUNT,
        image_token_id=CONTEXT,
        projector_hidden_act="gelu",
        text_config=text,
        torch_dtype="float32",
        tie_word_embeddings=False,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        vision_config=vision,
    )


def original_name(name):
    if name.startswith("model.vision_tower."):
        name = name.replace("model.vision_tower.", "vision_model.")
        for new, old in TOWER_NAMES:
            name = name.replace(new, old)
        return name
    if name.startswith("model.multi_modal_projector."):
        module, kind = name.removeprefix("model.multi_modal_projector.").split(".")
        return f"mlp1.{PROJECTOR[module]}.{kind}"
    return name.replace("model.language_model.", "language_model.model.").replace("lm_head", "language_model.lm_head")


def original_tensors(tensors):
    """q, k and v of the tower are one tensor in the original layout."""
    out = {}
    for name, tensor in tensors.items():
        name = original_name(name)
        if name.startswith("vision_model.") and (".k_proj." in name or ".v_proj." in name):
            continue
        if name.startswith("vision_model.") and ".q_proj." in name:
            parts = [
                tensors[key] for key in tensors for c in "qkv" if original_name(key) == name.replace(".q_", f".{c}_")
            ]
            name, tensor = name.replace(".q_proj.", ".qkv."), torch.cat(parts)
        out[name] = tensor.clone()
    return out


def load_original(model, tensors):
    """Puts tensors of the original layout into the model of transformers."""
    state = {}
    for name, tensor in model.state_dict().items():
        old = original_name(name)
        for index, c in enumerate("qkv"):
            if old.startswith("vision_model.") and f".{c}_proj." in old:
                state[name] = tensors[old.replace(f".{c}_proj.", ".qkv.")].split(TOWER_WIDTH)[index]
                break
        else:
            state[name] = tensors[old]
    model.load_state_dict(state)


def forward(model, ids, inputs, **options):
    return model(
        input_ids=ids[None],
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        use_cache=False,
        **inputs,
        **options,
    )


def read(model, ids, inputs):
    extra = {}
    if "pixel_values" in inputs:
        pixels = inputs["pixel_values"]
        extra = dict(
            vision_hidden=model.model.vision_tower(pixel_values=pixels).last_hidden_state[:, 1:],
            vision_features=model.model.get_image_features(pixel_values=pixels).pooler_output.reshape(-1, WIDTH),
        )
    return numbers(model, forward, ids, inputs, torch.arange(len(ids)), extra)


def write_checkpoints(root, name, language, generator):
    """Both layouts, the weights drawn by their original names; the original tensors and the model, read back."""
    from transformers import InternVLConfig, InternVLForConditionalGeneration

    config = transformers_config(language)
    drawn = InternVLForConditionalGeneration(InternVLConfig(**copy.deepcopy(config))).eval()
    tensors = original_tensors(drawn.state_dict())
    draw_weights(tensors, generator)
    write_checkpoint(f"{root}/{name}/model", tensors, original_config(language), added_tokens=ADDED)
    load_original(drawn, tensors)
    path = f"{root}/{name}_hf/model"
    os.makedirs(path, exist_ok=True)
    write_checkpoint(path, write_as_saved(drawn, path), config, added_tokens=ADDED)
    model = read_back(InternVLForConditionalGeneration, path, attn_implementation="eager")
    return load_file(f"{root}/{name}/model/model.safetensors"), model, checks(InternVLForConditionalGeneration, path)


def write_cases(root, language, seed):
    generator, name = torch.Generator().manual_seed(seed), f"internvl3_{language}"
    tensors, model, others = write_checkpoints(root, name, language, generator)
    spec = Spec(language, LAYERS, HEADS, KV_HEADS, HEAD_DIM[language], 1e-6, 1000000.0)
    ids_of = dict(img_context_token_id=CONTEXT, img_start_token_id=START, img_end_token_id=END)

    def family_of(folder, **fields):
        return Family(
            root,
            folder,
            spec,
            tensors,
            "language_model.model.",
            "language_model.lm_head.weight",
            FFN,
            model,
            others,
            forward,
            read,
            **ids_of,
            **fields,
        )

    family, renamed = family_of(name), family_of(name + "_hf", image_token_id=CONTEXT)

    def inputs(tiles):
        if not tiles:
            return random_text(generator), {}, []
        pixels = normal(generator, sum(tiles), 3, SIDE, SIDE)
        ids, starts = prompt(generator, [(START, CONTEXT, COUNT * count, END) for count in tiles])
        spans = [Span(start + COUNT * i, MERGED, MERGED) for start, count in zip(starts, tiles) for i in range(count)]
        return ids, dict(pixel_values=pixels), spans

    for case, tiles in CASES.items():
        sample = inputs(tiles)
        decode = torch.randint(3, TEXT_IDS, (4,), generator=generator)
        family.case(
            case,
            *sample,
            generator,
            EVERY_PLAN if case == "single" else FEW_PLANS,
            case == "single",
            decode,
            tiles_per_image=tiles,
            dense_from="transformers InternVLForConditionalGeneration",
        )
        if case in ("single", "two_images"):
            renamed.case(
                case,
                *sample,
                generator,
                ("heads", "all"),
                decode=decode,
                tiles_per_image=tiles,
                note=f"same weights and sample as {name}/{case}",
            )
    family.heads([inputs([1]) for _ in range(5)], generator)


def make_qwen2(root):
    write_cases(root, "qwen2", 8000)


def make_qwen3(root):
    write_cases(root, "qwen3", 8500)
