"""LLaVA-NeXT and LLaVA-OneVision from transformers 5: anyres_llava_next, anyres_llava_onevision. An image is a base
tile, then a grid of tiles with a newline behind each row: two spans."""

import math

from decoder import Span, Spec
from newer.family import (
    FEW_PLANS,
    HALF_MEAN,
    HALF_STD,
    LAYERS,
    VOCABULARY,
    Family,
    checks,
    draw_model,
    numbers,
    prompt,
    random_text,
    read_back,
    write_as_saved,
)
from support import CLIP_MEAN, CLIP_STD, load_file, normal, torch, write_checkpoint

WIDTH, HEADS, FFN, TOWER_WIDTH, GRID, PATCH, IMAGE = 64, 4, 112, 32, 3, 4, 300
SIDE = GRID * PATCH
COUNT = GRID * GRID
# Images of each case: height, width.
SIZES = dict(single=[(30, 30)], wide=[(13, 22)], tall=[(33, 10)], two_images=[(13, 22), (31, 29)])
GRIDS = dict(
    llava_next=[(1, 2), (2, 1), (2, 2), (3, 1), (1, 3)],
    llava_onevision=[(rows, columns) for rows in (1, 2, 3) for columns in (1, 2, 3)],
)


def config_of(kind):
    following = kind == "llava_next"
    text = dict(
        architectures=["LlamaForCausalLM" if following else "Qwen2ForCausalLM"],
        model_type="llama" if following else "qwen2",
        hidden_size=WIDTH,
        intermediate_size=FFN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        vocab_size=VOCABULARY,
        rms_norm_eps=1e-5 if following else 1e-6,
        rope_theta=10000.0 if following else 1000000.0,
        max_position_embeddings=4096,
        hidden_act="silu",
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        torch_dtype="float32",
    )
    vision = dict(
        hidden_size=TOWER_WIDTH,
        intermediate_size=2 * TOWER_WIDTH,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=PATCH,
    )
    if following:
        vision |= dict(model_type="clip_vision_model", projection_dim=32, vocab_size=1000)
        more = dict(image_seq_length=COUNT)
    else:
        text |= dict(use_sliding_window=False, sliding_window=None, max_window_layers=LAYERS)
        vision |= dict(model_type="siglip_vision_model", vision_use_head=False)
        more = dict(video_token_index=301, vision_aspect_ratio="anyres_max_4")
    return dict(
        architectures=["LlavaNextForConditionalGeneration" if following else "LlavaOnevisionForConditionalGeneration"],
        model_type=kind,
        ignore_index=-100,
        image_token_index=IMAGE,
        image_grid_pinpoints=[[SIDE * rows, SIDE * columns] for rows, columns in GRIDS[kind]],
        projector_hidden_act="gelu",
        text_config=text,
        vision_config=vision,
        vision_feature_layer=-2 if following else -1,
        tie_word_embeddings=False,
        torch_dtype="float32",
        vision_feature_select_strategy="default" if following else "full",
        use_image_newline_parameter=True,
        **more,
    )


def hub_name(name):
    name = name.removeprefix("model.") if name.startswith("model.") else "language_model." + name
    if name.startswith("language_model.") and "lm_head" not in name:
        name = name.replace("language_model.", "language_model.model.")
    if name.startswith("vision_tower.") and "vision_model" not in name:
        name = name.replace("vision_tower.", "vision_tower.vision_model.")
    return name


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
        more = {name: inputs[name] for name in inputs if name == "batch_num_images"}
        features = model.model.get_image_features(inputs["pixel_values"], inputs["image_sizes"], **more)
        extra["vision_features"] = torch.cat(features.pooler_output)
    return numbers(model, forward, ids, inputs, torch.arange(len(ids)), extra)


def layout_of(kind, height, width):
    """The tiles of an image, the base tile among them, and rows and columns of its features without the newlines."""
    from transformers.image_processing_utils import select_best_resolution

    pinpoints = [[SIDE * rows, SIDE * columns] for rows, columns in GRIDS[kind]]
    tall, wide = (length // SIDE for length in select_best_resolution((height, width), pinpoints))
    rows, columns = tall * GRID, wide * GRID
    # The padding is cut off on both sides.
    if width / height > columns / rows:
        rows -= (rows - int(round(height * (columns / width), 7))) // 2 * 2
    else:
        columns -= (columns - int(round(width * (rows / height), 7))) // 2 * 2
    if kind == "llava_onevision":
        ratio = math.sqrt(rows * columns / (4 * COUNT))
        if ratio > 1.1:
            rows, columns = int(rows // ratio), int(columns // ratio)
    return tall * wide + 1, rows, columns


def write_cases(root, kind, model_class, config_class, seed):
    generator, name, config = torch.Generator().manual_seed(seed), "anyres_" + kind, config_of(kind)
    following, path = kind == "llava_next", f"{root}/{name}/model"
    drawn = draw_model(model_class, config_class, config, generator)
    tensors = {hub_name(key): t for key, t in drawn.state_dict().items() if not key.endswith("position_ids")}
    size = dict(size=dict(height=SIDE, width=SIDE))
    if following:
        size = dict(size=dict(shortest_edge=SIDE), crop_size=dict(height=SIDE, width=SIDE))
    write_checkpoint(
        path,
        tensors,
        config,
        preprocessor_config=dict(
            image_processor_type="LlavaNextImageProcessor" if following else "LlavaOnevisionImageProcessor",
            image_grid_pinpoints=config["image_grid_pinpoints"],
            image_mean=CLIP_MEAN if following else HALF_MEAN,
            image_std=CLIP_STD if following else HALF_STD,
            **size,
        ),
    )
    model = read_back(model_class, path, attn_implementation="eager")
    write_as_saved(model, path)
    text = config["text_config"]
    spec = Spec(
        "llama" if following else "qwen2",
        LAYERS,
        HEADS,
        HEADS,
        WIDTH // HEADS,
        text["rms_norm_eps"],
        text["rope_theta"],
    )
    family = Family(
        root,
        name,
        spec,
        load_file(f"{path}/model.safetensors"),
        "language_model.model.",
        "language_model.lm_head.weight",
        FFN,
        model,
        checks(model_class, path),
        forward,
        read,
        image_token_id=IMAGE,
    )

    def inputs(sizes):
        # LLaVA-OneVision makes one padded square of each image where there are several.
        layouts = [layout_of(kind, *size) if len(sizes) == 1 or following else (1, 0, 0) for size in sizes]
        pixels = torch.zeros(len(sizes), max(tiles for tiles, _, _ in layouts), 3, SIDE, SIDE)
        for i, (tiles, _, _) in enumerate(layouts):
            pixels[i, :tiles] = normal(generator, tiles, 3, SIDE, SIDE)
        behind = [(rows, columns + 1) if tiles > 1 else (1, 1) for tiles, rows, columns in layouts]
        ids, starts = prompt(generator, [(5, IMAGE, COUNT + rows * columns, 6) for rows, columns in behind])
        spans = []
        for start, grid in zip(starts, behind):
            spans += [Span(start, GRID, GRID), Span(start + COUNT, *grid)]
        given = dict(pixel_values=pixels, image_sizes=torch.tensor(sizes))
        if not following:
            given["batch_num_images"] = torch.tensor([len(sizes)])
        return ids, given, spans

    for case, sizes in SIZES.items():
        family.case(
            case,
            *inputs(sizes),
            generator,
            ("updates", "all") if case == "two_images" else FEW_PLANS,
            case == "wide",
            image_sizes=[list(size) for size in sizes],
        )
    family.case("text_only", random_text(generator), {}, [], generator, image_sizes=[])
    family.heads([inputs(SIZES["wide"]) for _ in range(5)], generator)


def make_next(root):
    from transformers import LlavaNextConfig, LlavaNextForConditionalGeneration

    write_cases(root, "llava_next", LlavaNextForConditionalGeneration, LlavaNextConfig, 8800)


def make_onevision(root):
    from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration

    write_cases(root, "llava_onevision", LlavaOnevisionForConditionalGeneration, LlavaOnevisionConfig, 8900)
