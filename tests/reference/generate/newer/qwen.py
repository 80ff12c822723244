"""Qwen2.5-VL and Qwen3-VL from transformers 5: qwen2_5_vl, qwen3_vl."""

from decoder import Span, Spec
from newer.family import (
    END,
    EVERY_PLAN,
    FEW_PLANS,
    HALF_MEAN,
    HALF_STD,
    IMAGE,
    LAYERS,
    MORE_PLANS,
    START,
    VIDEO,
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

WIDTH, HEADS, KV_HEADS, PATCH = 64, 4, 2, 4
FFN = dict(qwen2_5_vl=128, qwen3_vl=112)
HEAD_DIM, QWEN3_LAYERS, QWEN3_SECTIONS = 24, 5, [6, 3, 3]
# Patches of each image: rows, columns.
GRIDS = dict(
    qwen2_5_vl=dict(single=[(8, 8)], nonsquare=[(12, 6)], windows=[(14, 16)], two_images=[(8, 6), (6, 10)]),
    qwen3_vl=dict(single=[(8, 8)], nonsquare=[(4, 14)], two_images=[(8, 6), (6, 10)]),
)

QWEN2_5 = dict(
    architectures=["Qwen2_5_VLForConditionalGeneration"],
    model_type="qwen2_5_vl",
    hidden_size=WIDTH,
    intermediate_size=FFN["qwen2_5_vl"],
    num_hidden_layers=LAYERS,
    num_attention_heads=HEADS,
    num_key_value_heads=KV_HEADS,
    vocab_size=VOCABULARY,
    rms_norm_eps=1e-6,
    rope_theta=1000000.0,
    rope_scaling=dict(type="mrope", mrope_section=[2, 3, 3]),
    max_position_embeddings=128000,
    hidden_act="silu",
    use_sliding_window=False,
    sliding_window=32768,
    max_window_layers=LAYERS,
    attention_dropout=0.0,
    tie_word_embeddings=False,
    bos_token_id=1,
    eos_token_id=2,
    vision_start_token_id=START,
    vision_end_token_id=END,
    vision_token_id=305,
    image_token_id=IMAGE,
    video_token_id=VIDEO,
    torch_dtype="float32",
    vision_config=dict(
        depth=4,
        hidden_act="silu",
        hidden_size=32,
        intermediate_size=56,
        num_heads=2,
        in_chans=3,
        out_hidden_size=WIDTH,
        patch_size=PATCH,
        spatial_merge_size=2,
        spatial_patch_size=PATCH,
        window_size=24,
        fullatt_block_indexes=[1, 3],
        tokens_per_second=2,
        temporal_patch_size=2,
        model_type="qwen2_5_vl",
    ),
)
QWEN3 = dict(
    architectures=["Qwen3VLForConditionalGeneration"],
    image_token_id=IMAGE,
    model_type="qwen3_vl",
    tie_word_embeddings=False,
    video_token_id=VIDEO,
    vision_start_token_id=START,
    vision_end_token_id=END,
    text_config=dict(
        attention_bias=False,
        attention_dropout=0.0,
        bos_token_id=1,
        eos_token_id=2,
        dtype="float32",
        head_dim=HEAD_DIM,
        hidden_act="silu",
        hidden_size=WIDTH,
        intermediate_size=FFN["qwen3_vl"],
        max_position_embeddings=262144,
        model_type="qwen3_vl_text",
        num_attention_heads=HEADS,
        num_hidden_layers=QWEN3_LAYERS,
        num_key_value_heads=KV_HEADS,
        rms_norm_eps=1e-6,
        rope_theta=5000000,
        use_cache=True,
        vocab_size=VOCABULARY,
        rope_scaling=dict(mrope_interleaved=True, mrope_section=QWEN3_SECTIONS, rope_type="default"),
    ),
    vision_config=dict(
        deepstack_visual_indexes=[1, 2, 4],
        depth=5,
        hidden_act="gelu_pytorch_tanh",
        hidden_size=32,
        in_channels=3,
        initializer_range=0.02,
        intermediate_size=48,
        model_type="qwen3_vl",
        num_heads=2,
        num_position_embeddings=36,
        out_hidden_size=WIDTH,
        patch_size=PATCH,
        spatial_merge_size=2,
        temporal_patch_size=2,
    ),
)


def forward(model, ids, inputs, **options):
    if "pixel_values" in inputs:
        options |= dict(inputs, mm_token_type_ids=(ids == IMAGE).int()[None])
    return model(
        input_ids=ids[None], attention_mask=torch.ones(1, len(ids), dtype=torch.long), use_cache=False, **options
    )


def read(model, ids, inputs):
    if "pixel_values" not in inputs:
        positions = torch.arange(len(ids)).expand(3, -1).contiguous()
        return numbers(model, forward, ids, inputs, positions, {}, delta=0)
    pixels, grids = inputs["pixel_values"], inputs["image_grid_thw"]
    positions, delta = model.model.get_rope_index(
        ids[None], mm_token_type_ids=(ids == IMAGE).int()[None], image_grid_thw=grids
    )
    last_block = []
    hook = model.model.visual.blocks[-1].register_forward_hook(lambda module, given, out: last_block.append(out))
    tower = model.model.visual(pixels, grid_thw=grids)
    hook.remove()
    more = dict(delta=int(delta))
    if getattr(tower, "deepstack_features", None):
        more["deep"] = torch.stack(list(tower.deepstack_features))
    extra = dict(vision_hidden=last_block[0], vision_features=tower.pooler_output)
    return numbers(model, forward, ids, inputs, positions[:, 0].contiguous(), extra, **more)


def write_cases(root, name, model_class, spec, prefix, generator):
    path, grids = f"{root}/{name}/model", GRIDS[name]
    model = read_back(model_class, path, attn_implementation="eager")
    write_as_saved(model, path)
    family = Family(
        root,
        name,
        spec,
        load_file(f"{path}/model.safetensors"),
        prefix,
        "lm_head.weight",
        FFN[name],
        model,
        checks(model_class, path),
        forward,
        read,
        image_token_id=IMAGE,
        vision_start_token_id=START,
        vision_end_token_id=END,
    )

    def inputs(sizes):
        thw = torch.tensor([[1, rows, columns] for rows, columns in sizes])
        pixels = normal(generator, int(thw.prod(-1).sum()), 3 * 2 * PATCH * PATCH)
        ids, starts = prompt(generator, [(START, IMAGE, rows * columns // 4, END) for rows, columns in sizes])
        spans = [Span(start, rows // 2, columns // 2) for start, (rows, columns) in zip(starts, sizes)]
        return ids, dict(pixel_values=pixels, image_grid_thw=thw), spans

    plans = dict(single=EVERY_PLAN, windows=MORE_PLANS, nonsquare=MORE_PLANS if name == "qwen3_vl" else FEW_PLANS)
    for case, sizes in grids.items():
        ids, given, spans = inputs(sizes)
        family.case(
            case,
            ids,
            given,
            spans,
            generator,
            plans.get(case, FEW_PLANS),
            case == "single",
            image_grid_thw=given["image_grid_thw"].tolist(),
        )
    family.case("text_only", random_text(generator), {}, [], generator, image_grid_thw=[])
    fewest = min(grids["single"], grids["nonsquare"], key=lambda sizes: sizes[0][0] * sizes[0][1])
    family.heads([inputs(fewest) for _ in range(5)], generator)


def preprocessor(kind, mean, std, **size):
    return dict(
        image_processor_type=kind,
        **size,
        patch_size=PATCH,
        temporal_patch_size=2,
        merge_size=2,
        image_mean=mean,
        image_std=std,
    )


def make_qwen2_5(root):
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    generator = torch.Generator().manual_seed(6000)
    drawn = draw_model(Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLConfig, QWEN2_5, generator)
    tensors = {
        name.replace("model.visual.", "visual.").replace("model.language_model.", "model."): tensor
        for name, tensor in drawn.state_dict().items()
    }
    size = dict(min_pixels=(4 * PATCH) ** 2, max_pixels=(40 * PATCH) ** 2)
    write_checkpoint(
        f"{root}/qwen2_5_vl/model",
        tensors,
        QWEN2_5,
        preprocessor_config=preprocessor("Qwen2_5_VLImageProcessor", CLIP_MEAN, CLIP_STD, **size),
    )
    spec = Spec(
        "qwen2", LAYERS, HEADS, KV_HEADS, WIDTH // HEADS, 1e-6, 1000000.0, dict(type="mrope", sections=[2, 3, 3])
    )
    write_cases(root, "qwen2_5_vl", Qwen2_5_VLForConditionalGeneration, spec, "model.", generator)


def make_qwen3(root):
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    generator = torch.Generator().manual_seed(7000)
    drawn = draw_model(Qwen3VLForConditionalGeneration, Qwen3VLConfig, QWEN3, generator)
    size = dict(size=dict(shortest_edge=(4 * PATCH) ** 2, longest_edge=(40 * PATCH) ** 2))
    write_checkpoint(
        f"{root}/qwen3_vl/model",
        dict(drawn.state_dict()),
        QWEN3,
        preprocessor_config=preprocessor("Qwen2VLImageProcessorFast", HALF_MEAN, HALF_STD, **size),
    )
    rope = dict(type="mrope", sections=QWEN3_SECTIONS, interleaved=True)
    spec = Spec("qwen3", QWEN3_LAYERS, HEADS, KV_HEADS, HEAD_DIM, 1e-6, 5000000.0, rope)
    write_cases(root, "qwen3_vl", Qwen3VLForConditionalGeneration, spec, "model.language_model.", generator)
