"""LLaVA-1.5 from transformers, in three layouts of one set of weights: llava_hf/model (the hub's names), model_newkeys
(names that transformers writes since 4.52) and llava_orig (the original repository's, its CLIP tower apart)."""

import os

from cases import Case, llava_variants, several_pictures
from decoder import Decoder, Prune, Span, Spec, split_weights
from ratios import LLAVA_UPSTREAM, attention_ratio, ratios_of, write_ratios
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
WIDTH, HEADS, FFN, FFN_RATIO, GRID = 64, 4, 138, 4, 6
VOCABULARY, IMAGE, PAD, PATCH = 300, 300, 301, 14
SIDE = GRID * PATCH
COUNT = GRID * GRID

VISION = dict(
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=3,
    num_attention_heads=2,
    image_size=SIDE,
    patch_size=PATCH,
    projection_dim=32,
    vocab_size=1000,
    model_type="clip_vision_model",
)
TEXT = dict(
    architectures=["LlamaForCausalLM"],
    model_type="llama",
    hidden_size=WIDTH,
    intermediate_size=FFN,
    num_hidden_layers=LAYERS,
    num_attention_heads=HEADS,
    num_key_value_heads=HEADS,
    vocab_size=320,
    rms_norm_eps=1e-5,
    rope_theta=10000.0,
    max_position_embeddings=4096,
    hidden_act="silu",
    tie_word_embeddings=False,
    torch_dtype="float32",
)
CONFIG = dict(
    architectures=["LlavaForConditionalGeneration"],
    model_type="llava",
    ignore_index=-100,
    image_token_index=IMAGE,
    image_seq_length=COUNT,
    pad_token_id=PAD,
    projector_hidden_act="gelu",
    text_config=TEXT,
    vision_config=VISION,
    vision_feature_layer=-2,
    vision_feature_select_strategy="default",
    tie_word_embeddings=False,
    torch_dtype="float32",
)
ORIGINAL = TEXT | dict(
    architectures=["LlavaLlamaForCausalLM"],
    model_type="llava_llama",
    vocab_size=VOCABULARY,
    freeze_mm_mlp_adapter=False,
    image_aspect_ratio="pad",
    mm_hidden_size=32,
    mm_projector_type="mlp2x_gelu",
    mm_use_im_patch_token=False,
    mm_use_im_start_end=False,
    mm_vision_select_feature="patch",
    mm_vision_select_layer=-2,
    mm_vision_tower="vision_tower",
    tune_mm_mlp_adapter=False,
    use_mm_proj=True,
    attncut_w=WINDOW,
    layercut_num=CUT,
    headcut_num=0,
    mlpcut_ratio=FFN_RATIO,
    sprompt_len=BEFORE,
)
PREPROCESSOR = dict(
    image_processor_type="CLIPImageProcessor",
    crop_size=dict(height=SIDE, width=SIDE),
    do_center_crop=True,
    do_convert_rgb=True,
    do_normalize=True,
    do_rescale=True,
    do_resize=True,
    resample=3,
    image_mean=CLIP_MEAN,
    image_std=CLIP_STD,
    rescale_factor=1 / 255,
    size=dict(shortest_edge=SIDE),
)


def hub_name(name):
    """The hub's (older) name of a tensor."""
    if name.startswith("model.language_model."):
        return "language_model.model." + name.removeprefix("model.language_model.")
    return "language_model." + name if name == "lm_head.weight" else name.removeprefix("model.")


def below(tensors, prefix):
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def write_checkpoints(root, tensors):
    write_checkpoint(
        f"{root}/llava_hf/model",
        {hub_name(name): t for name, t in tensors.items()},
        CONFIG,
        preprocessor_config=PREPROCESSOR,
    )
    write_checkpoint(f"{root}/llava_hf/model_newkeys", tensors, CONFIG, preprocessor_config=PREPROCESSOR)
    # The original vocabulary has no row for <image>: its prompts hold -200 there.
    original = {"model." + name: t for name, t in below(tensors, "model.language_model.").items()}
    original["model.embed_tokens.weight"] = original["model.embed_tokens.weight"][:VOCABULARY]
    original["lm_head.weight"] = tensors["lm_head.weight"][:VOCABULARY]
    for name, index in (("linear_1", 0), ("linear_2", 2)):
        for kind in ("weight", "bias"):
            original[f"model.mm_projector.{index}.{kind}"] = tensors[f"model.multi_modal_projector.{name}.{kind}"]
    write_checkpoint(f"{root}/llava_orig/model", original, ORIGINAL)
    tower = VISION | dict(architectures=["CLIPVisionModel"], torch_dtype="float32")
    write_checkpoint(
        f"{root}/llava_orig/vision_tower",
        below(tensors, "model.vision_tower."),
        tower,
        preprocessor_config=PREPROCESSOR,
    )


class Llava:
    """The written checkpoints, read back."""

    def __init__(self, root, generator):
        from transformers import LlavaForConditionalGeneration

        self.root, self.generator = root, generator

        def read(name):
            return LlavaForConditionalGeneration.from_pretrained(
                f"{root}/llava_hf/{name}", attn_implementation="eager"
            ).eval()

        self.model, self.renamed = read("model"), read("model_newkeys")
        tensors = load_file(f"{root}/llava_hf/model/model.safetensors")
        self.spec = Spec("llama", LAYERS, HEADS, HEADS, WIDTH // HEADS, 1e-5, 10000.0)
        at = "language_model.model."
        self.reference = Decoder(
            self.spec,
            split_weights(tensors, self.spec, at),
            tensors[at + "norm.weight"],
            tensors["language_model.lm_head.weight"],
        )
        self.embeddings = tensors[at + "embed_tokens.weight"]

    def dense(self, ids, pixels):
        entered, hidden, out = capture(
            self.model.model.language_model.layers,
            lambda: self.model(input_ids=ids[None], pixel_values=pixels, output_attentions=True, use_cache=False),
        )
        return entered, hidden, out.logits[0], torch.stack([a[0] for a in out.attentions])

    def inputs(self, images):
        pixels = normal(self.generator, images, 3, SIDE, SIDE)
        ids, starts = prompt_with(self.generator, VOCABULARY, [(None, IMAGE, COUNT, None)] * images, BEFORE, AFTER)
        return ids, pixels, [Span(start, GRID, GRID) for start in starts]

    def decode(self, count):
        return torch.randint(3, VOCABULARY, (count,), generator=self.generator)

    def selected(self, pixels):
        return self.model.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]

    def case(self, name, images):
        ids, pixels, spans = self.inputs(images)
        decode = self.decode(4)
        entered, hidden, logits, attention = self.dense(ids, pixels)
        behind = self.dense(torch.cat([ids, decode]), pixels)[2][len(ids) :]
        case = Case(
            self.root,
            "llava_hf",
            name,
            self.reference,
            FFN,
            spans,
            entered,
            torch.arange(len(ids)),
            decode,
            self.embeddings[decode],
            torch.arange(len(ids), len(ids) + 4),
            image_token_id=IMAGE,
            vocab=320,
            compare_hidden_rows="all",
        )
        features = self.model.model.get_image_features(
            pixel_values=pixels, vision_feature_layer=-2, vision_feature_select_strategy="default"
        )
        extra = dict(
            vision_hidden=self.selected(pixels),
            vision_features=torch.stack(list(features)).reshape(images * COUNT, WIDTH),
        )
        case.dense(dict(input_ids=ids, pixel_values=pixels), extra, hidden, logits, attention, behind)
        renamed = self.renamed(input_ids=ids[None], pixel_values=pixels).logits[0]
        expect_close(f"llava_hf/{name}: the checkpoint with new names", renamed, logits, 1e-6)
        return case, ids, pixels, decode

    def original_case(self, case, ids, pixels, decode):
        """The sample of llava_hf/single through the original layout: CLIP, the projector and LLaMA apart."""
        from transformers import CLIPVisionModel, LlamaConfig, LlamaForCausalLM

        tensors = load_file(f"{self.root}/llava_orig/model/model.safetensors")
        language = LlamaForCausalLM(LlamaConfig(**TEXT | dict(vocab_size=VOCABULARY))).eval()
        language.load_state_dict({name: t for name, t in tensors.items() if "mm_projector" not in name})
        language.set_attn_implementation("eager")
        tower = CLIPVisionModel.from_pretrained(f"{self.root}/llava_orig/vision_tower").eval()
        features = tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
        first, second = (
            (tensors[f"model.mm_projector.{i}.weight"], tensors[f"model.mm_projector.{i}.bias"]) for i in (0, 2)
        )
        features = torch.nn.functional.gelu(features @ first[0].T + first[1]) @ second[0].T + second[1]
        start, table = case.spans[0].start, tensors["model.embed_tokens.weight"]
        entered = torch.cat([table[ids[:start]], features[0], table[ids[start + COUNT :]]])
        _, hidden, out = capture(
            language.model.layers,
            lambda: language(inputs_embeds=entered[None], output_attentions=True, use_cache=False),
        )
        behind = language(inputs_embeds=torch.cat([entered, table[decode]])[None]).logits[0, len(ids) :]
        reference = Decoder(
            self.spec,
            split_weights(tensors, self.spec, "model."),
            tensors["model.norm.weight"],
            tensors["lm_head.weight"],
        )
        original = Case(
            self.root,
            "llava_orig",
            "single",
            reference,
            FFN,
            case.spans,
            entered,
            torch.arange(len(ids)),
            decode,
            table[decode],
            torch.arange(len(ids), len(ids) + 4),
            image_token_index=-200,
            vocab=VOCABULARY,
            compare_hidden_rows="all",
            note="same weights and sample as llava_hf/single; logits are its first 300 columns",
        )
        prompt = torch.cat([ids[:start], torch.tensor([-200]), ids[start + COUNT :]])
        original.dense(
            dict(input_ids=prompt, pixel_values=pixels),
            dict(vision_features=features[0], vision_hidden=self.selected(pixels)),
            hidden,
            out.logits[0],
            torch.stack([a[0] for a in out.attentions]),
            behind,
        )
        expect_close("llava_orig: logits of llava_hf", out.logits[0], case.dense_run["logits"][:, :VOCABULARY], 1e-4)
        mask = load_file(f"{case.folder}/yopo_all.safetensors")["headmask"].bool()
        original.pruned(
            "all",
            Prune(window=WINDOW, headmask=mask, zero_query=True, layercut=CUT, ffn_keep=int(FFN / FFN_RATIO)),
            True,
        )
        original.finish()

    def padded_batch(self):
        """Two prompts of different lengths with padding on the left; dense numbers alone."""
        pixels = normal(self.generator, 2, 3, SIDE, SIDE)
        block = [(None, IMAGE, COUNT, None)]
        prompts = [prompt_with(self.generator, VOCABULARY, block, BEFORE, after)[0] for after in (AFTER, AFTER - 4)]
        longest = len(prompts[0])
        ids = torch.stack([torch.cat([torch.full((longest - len(p),), PAD), p]) for p in prompts])
        mask = (ids != PAD).long()
        positions = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 1)
        logits = self.model(
            input_ids=ids, attention_mask=mask, position_ids=positions, pixel_values=pixels, use_cache=False
        ).logits
        for i, prompt in enumerate(prompts):
            expect_close(
                f"llava_hf/batch_pad: row {i} alone",
                logits[i, longest - len(prompt) :],
                self.dense(prompt, pixels[i : i + 1])[2],
                1e-4,
            )
        folder = f"{self.root}/llava_hf/cases/batch_pad"
        os.makedirs(folder, exist_ok=True)
        save_tensors(
            f"{folder}/inputs.safetensors",
            dict(input_ids=ids, attention_mask=mask, position_ids=positions, pixel_values=pixels),
        )
        save_tensors(f"{folder}/dense.safetensors", dict(logits=logits * mask[..., None]))
        save_json(
            f"{folder}/case.json",
            dict(
                family="llava_hf",
                case="batch_pad",
                padding_side="left",
                pad_token_id=PAD,
                note="padded rows of logits are zeroed; compare where attention_mask==1",
            ),
        )

    def heads(self):
        prefill, first_step, inputs = [], [], []
        for i in range(5):
            ids, pixels, spans = self.inputs(1)
            decode, end = self.decode(1), len(ids)
            entered, _, _, attention = self.dense(ids, pixels)
            sample = (entered, torch.arange(end), self.embeddings[decode], torch.arange(end, end + 1), spans)
            both = ratios_of(self.reference, sample)
            expect_close(
                f"llava_hf/heads {i}: ratio of the model's attention", attention_ratio(attention, spans), both[0], 1e-4
            )
            prefill.append(both[0])
            first_step.append(both[1])
            inputs.append(dict(input_ids=ids, pixel_values=pixels, decode_token=decode))
        write_ratios(f"{self.root}/llava_hf/heads", prefill, first_step, inputs, LLAVA_UPSTREAM)


def make(root):
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    generator = torch.Generator().manual_seed(1000)
    drawn = LlavaForConditionalGeneration(LlavaConfig(**CONFIG)).eval()
    draw_weights(dict(drawn.state_dict()), generator)
    write_checkpoints(root, {name: t for name, t in drawn.state_dict().items() if "position_ids" not in name})
    family = Llava(root, generator)
    case, ids, pixels, decode = family.case("single", 1)
    llava_variants(case, generator, WINDOW, CUT, FFN_RATIO)
    case.finish()
    family.original_case(case, ids, pixels, decode)
    case, *_ = family.case("two_images", 2)
    several_pictures(case, generator, WINDOW, CUT)
    case.finish()
    family.padded_batch()
    family.heads()
