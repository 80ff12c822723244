"""Qwen2-VL from transformers, in the hub's layout: qwen2vl."""

import copy
import os

from cases import Case, qwen_variants, several_pictures
from decoder import Decoder, Span, Spec, split_weights
from ratios import QWEN_UPSTREAM, attention_ratio, ratios_of, write_ratios
from support import (
    CLIP_MEAN,
    CLIP_STD,
    capture,
    draw_weights,
    expect_close,
    load_file,
    normal,
    prompt_with,
    save_json,
    save_tensors,
    torch,
    write_checkpoint,
)

LAYERS, CUT, WINDOW, BEFORE, AFTER = 5, 3, 3, 9, 7
WIDTH, HEADS, KV_HEADS, FFN, PATCH = 64, 4, 2, 128, 4
SECTIONS = [2, 3, 3]
SQUARE, WIDE = (12, 12), (12, 18)  # patches of an image: rows, columns
TEXT_IDS, VOCABULARY = 300, 310
START, END, IMAGE, VIDEO, PAD = 300, 301, 302, 303, 304

CONFIG = dict(
    architectures=["Qwen2VLForConditionalGeneration"],
    model_type="qwen2_vl",
    hidden_size=WIDTH,
    intermediate_size=FFN,
    num_hidden_layers=LAYERS,
    num_attention_heads=HEADS,
    num_key_value_heads=KV_HEADS,
    vocab_size=VOCABULARY,
    rms_norm_eps=1e-6,
    rope_theta=1000000.0,
    rope_scaling=dict(type="mrope", mrope_section=SECTIONS),
    max_position_embeddings=32768,
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
        depth=2,
        embed_dim=32,
        hidden_size=WIDTH,
        num_heads=2,
        mlp_ratio=2,
        in_chans=3,
        in_channels=3,
        patch_size=PATCH,
        spatial_patch_size=PATCH,
        spatial_merge_size=2,
        temporal_patch_size=2,
        hidden_act="quick_gelu",
        model_type="qwen2_vl",
    ),
)
PREPROCESSOR = dict(
    image_processor_type="Qwen2VLImageProcessor",
    min_pixels=(4 * PATCH) ** 2,
    max_pixels=(40 * PATCH) ** 2,
    patch_size=PATCH,
    temporal_patch_size=2,
    merge_size=2,
    image_mean=CLIP_MEAN,
    image_std=CLIP_STD,
)


class Qwen2VL:
    """The written checkpoint, read back."""

    def __init__(self, root, generator):
        from transformers import Qwen2VLForConditionalGeneration

        self.root, self.generator = root, generator
        path = f"{root}/qwen2vl/model"
        self.model, info = Qwen2VLForConditionalGeneration.from_pretrained(
            path, attn_implementation="eager", output_loading_info=True
        )
        assert not info["missing_keys"] and not info["unexpected_keys"], info
        self.model.eval()
        tensors = load_file(f"{path}/model.safetensors")
        spec = Spec(
            "qwen2", LAYERS, HEADS, KV_HEADS, WIDTH // HEADS, 1e-6, 1000000.0, dict(type="mrope", sections=SECTIONS)
        )
        self.embeddings = tensors["model.embed_tokens.weight"]
        self.reference = Decoder(
            spec, split_weights(tensors, spec, "model."), tensors["model.norm.weight"], tensors["lm_head.weight"]
        )

    def positions(self, ids, grids, mask=None):
        """ids [B, T] -> positions [3, B, T] and, for each prompt, what is added to a row's index behind the prompt."""
        return self.model.model.get_rope_index(
            ids, grids, None, attention_mask=torch.ones_like(ids) if mask is None else mask
        )

    def dense(self, ids, pixels, grids):
        positions, delta = self.positions(ids[None], grids)
        entered, hidden, out = capture(
            self.model.model.language_model.layers,
            lambda: self.model(
                input_ids=ids[None],
                pixel_values=pixels,
                image_grid_thw=grids,
                attention_mask=torch.ones_like(ids)[None],
                position_ids=positions,
                output_attentions=True,
                use_cache=False,
            ),
        )
        attention = torch.stack(out.attentions)[:, 0]
        return entered, hidden, out.logits[0], attention, positions[:, 0], int(delta)

    def inputs(self, sizes, after=AFTER):
        grids = torch.tensor([[1, rows, columns] for rows, columns in sizes])
        pixels = normal(self.generator, int(grids.prod(-1).sum()), 3 * 2 * PATCH * PATCH)
        blocks = [(START, IMAGE, rows * columns // 4, END) for rows, columns in sizes]
        ids, starts = prompt_with(self.generator, TEXT_IDS, blocks, BEFORE, after)
        spans = [Span(start, rows // 2, columns // 2) for start, (rows, columns) in zip(starts, sizes)]
        return ids, pixels, grids, spans

    def decode(self, count):
        return torch.randint(3, TEXT_IDS, (count,), generator=self.generator)

    def case(self, name, sizes):
        ids, pixels, grids, spans = self.inputs(sizes)
        decode = self.decode(4)
        entered, hidden, logits, attention, positions, delta = self.dense(ids, pixels, grids)
        longer = self.dense(torch.cat([ids, decode]), pixels, grids)
        behind = torch.arange(len(ids), len(ids) + 4)[None].expand(3, -1) + delta
        assert torch.equal(longer[4][:, len(ids) :], behind)
        case = Case(
            self.root,
            "qwen2vl",
            name,
            self.reference,
            FFN,
            spans,
            entered,
            positions,
            decode,
            self.embeddings[decode],
            behind,
            image_token_id=IMAGE,
            vision_start_token_id=START,
            vision_end_token_id=END,
            vocab=VOCABULARY,
            image_grid_thw=grids.tolist(),
            rope_delta=delta,
            compare_hidden_rows="all",
        )
        last_block = []
        hook = self.model.model.visual.blocks[-1].register_forward_hook(
            lambda module, given, out: last_block.append(out)
        )
        features = self.model.model.visual(pixels, grid_thw=grids)
        hook.remove()
        case.dense(
            dict(input_ids=ids, pixel_values=pixels, image_grid_thw=grids),
            dict(vision_hidden=last_block[0], vision_features=features),
            hidden,
            logits,
            attention,
            longer[2][len(ids) :],
        )
        return case

    def padded_batch(self):
        """Two prompts of different lengths with padding on the left; dense numbers alone."""
        rows = [self.inputs([SQUARE]), self.inputs([SQUARE], AFTER - 3)]
        longest = len(rows[0][0])
        ids = torch.stack([torch.cat([torch.full((longest - len(row[0]),), PAD), row[0]]) for row in rows])
        mask = (ids != PAD).long()
        pixels, grids = torch.cat([row[1] for row in rows]), torch.cat([row[2] for row in rows])
        positions, delta = self.positions(ids, grids, mask)
        logits = self.model(
            input_ids=ids,
            pixel_values=pixels,
            image_grid_thw=grids,
            attention_mask=mask,
            position_ids=positions,
            use_cache=False,
        ).logits
        for i, row in enumerate(rows):
            expect_close(
                f"qwen2vl/batch_pad: row {i} alone", logits[i, longest - len(row[0]) :], self.dense(*row[:3])[2], 1e-4
            )
        folder = f"{self.root}/qwen2vl/cases/batch_pad"
        os.makedirs(folder, exist_ok=True)
        save_tensors(
            f"{folder}/inputs.safetensors",
            dict(input_ids=ids, attention_mask=mask, position_ids=positions, pixel_values=pixels, image_grid_thw=grids),
        )
        save_tensors(f"{folder}/dense.safetensors", dict(logits=logits * mask[..., None]))
        save_json(
            f"{folder}/case.json",
            dict(
                family="qwen2vl",
                case="batch_pad",
                padding_side="left",
                pad_token_id=PAD,
                rope_deltas=delta.flatten().tolist(),
                note="position_ids is [3,B,T]; padded rows of logits zeroed",
            ),
        )

    def heads(self):
        prefill, first_step, inputs = [], [], []
        for i in range(5):
            ids, pixels, grids, spans = self.inputs([WIDE])
            decode = self.decode(1)
            entered, _, _, attention, positions, delta = self.dense(ids, pixels, grids)
            behind = torch.full((3, 1), len(ids) + delta)
            both = ratios_of(self.reference, (entered, positions, self.embeddings[decode], behind, spans))
            longer = self.dense(torch.cat([ids, decode]), pixels, grids)[3]
            expect_close(
                f"qwen2vl/heads {i}: ratio of the model's attention", attention_ratio(attention, spans), both[0], 1e-4
            )
            expect_close(
                f"qwen2vl/heads {i}: ratio of a step", attention_ratio(longer[:, :, -1:], spans), both[1], 1e-4
            )
            prefill.append(both[0])
            first_step.append(both[1])
            inputs.append(dict(input_ids=ids, pixel_values=pixels, image_grid_thw=grids, decode_token=decode))
        write_ratios(f"{self.root}/qwen2vl/heads", prefill, first_step, inputs, QWEN_UPSTREAM)


def hub_name(name):
    return name.replace("model.visual.", "visual.").replace("model.language_model.", "model.")


def make(root):
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    generator = torch.Generator().manual_seed(2000)
    drawn = Qwen2VLForConditionalGeneration(Qwen2VLConfig(**copy.deepcopy(CONFIG))).eval()
    draw_weights(dict(drawn.state_dict()), generator)
    write_checkpoint(
        f"{root}/qwen2vl/model",
        {hub_name(name): t for name, t in drawn.state_dict().items()},
        CONFIG,
        preprocessor_config=PREPROCESSOR,
    )
    family = Qwen2VL(root, generator)
    family.case("square", [SQUARE]).finish()
    case = family.case("nonsquare", [WIDE])
    qwen_variants(case, generator, WINDOW, CUT, True)
    case.finish()
    case = family.case("two_images", [SQUARE, WIDE[::-1]])
    several_pictures(case, generator, WINDOW, CUT)
    case.finish()
    family.padded_batch()
    family.heads()
