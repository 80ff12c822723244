"""InternVL2 in the original layout: internvl2_internlm2, internvl2_internlm2_6b (the tower of InternViT-6B) and
internvl2_phi3. transformers has no InternLM2 and not this layout's Phi-3, so the language model's numbers are those of
the reference decoder; the tower is the InternViT of transformers with its weights renamed."""

from cases import Case, draw_head_mask, qwen_variants, several_pictures
from decoder import Decoder, Prune, Span, Spec, split_weights
from ratios import QWEN_UPSTREAM, ratios_of, write_ratios
from support import draw_weights, load_file, normal, prompt_with, torch, write_checkpoint

LAYERS, CUT, WINDOW, BEFORE, AFTER = 5, 3, 3, 9, 7
VISION_WIDTH, VISION_HEADS, VISION_LAYERS, PATCH, GRID = 32, 2, 2, 6, 12
WIDTH, HEADS, FFN = 64, 4, 128
KV_HEADS = dict(internlm2=2, phi3=4)
SIDE, MERGED = PATCH * GRID, GRID // 2
COUNT = MERGED * MERGED
TEXT_IDS, VOCABULARY = 300, 310
CONTEXT, START, END = 300, 301, 302
THETA = dict(internlm2=1000000.0, phi3=10000.0)
FACTORS = dict(
    short_factor=[round(1.0 + 0.05 * i, 4) for i in range(WIDTH // HEADS // 2)],
    long_factor=[round(1.1 + 0.9 * i, 4) for i in range(WIDTH // HEADS // 2)],
)


def config_of(language, six):
    """`six`: the tower of InternViT-6B, with RMSNorm, norms of q and k, and no biases of q, k and v."""
    if language == "internlm2":
        text = dict(
            architectures=["InternLM2ForCausalLM"],
            model_type="internlm2",
            bias=False,
            rope_theta=THETA[language],
            rope_scaling=dict(type="dynamic", factor=2.0),
            max_position_embeddings=32768,
        )
    else:
        text = dict(
            architectures=["Phi3ForCausalLM"],
            model_type="phi3",
            rope_theta=THETA[language],
            original_max_position_embeddings=4096,
            max_position_embeddings=131072,
            rope_scaling=dict(type="su", **FACTORS),
            sliding_window=262144,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attention_dropout=0.0,
        )
    text |= dict(
        hidden_size=WIDTH,
        intermediate_size=FFN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS[language],
        vocab_size=VOCABULARY,
        rms_norm_eps=1e-5,
        hidden_act="silu",
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        attn_implementation="eager",
        torch_dtype="float32",
    )
    vision = dict(
        architectures=["InternVisionModel"],
        model_type="intern_vit_6b",
        hidden_size=VISION_WIDTH,
        intermediate_size=2 * VISION_WIDTH,
        num_hidden_layers=VISION_LAYERS,
        num_attention_heads=VISION_HEADS,
        image_size=SIDE,
        patch_size=PATCH,
        hidden_act="gelu",
        layer_norm_eps=1e-6,
        norm_type="rms_norm" if six else "layer_norm",
        qk_normalization=six,
        qkv_bias=not six,
        drop_path_rate=0.0,
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
        min_dynamic_patch=1,
        max_dynamic_patch=12,
        pad2square=False,
        ps_version="v2",
        select_layer=-1,
        template="internlm2-chat" if language == "internlm2" else "phi3-chat",
        use_thumbnail=True,
        use_backbone_lora=0,
        use_llm_lora=0,
        llm_config=text,
        vision_config=vision,
        torch_dtype="float32",
    )


def shapes_of(language, six):
    """Every tensor of the layout."""
    E, C, F, D = VISION_WIDTH, WIDTH, FFN, WIDTH // HEADS
    shapes = {
        "vision_model.embeddings.class_embedding": (1, 1, E),
        "vision_model.embeddings.patch_embedding.weight": (E, 3, PATCH, PATCH),
        "vision_model.embeddings.patch_embedding.bias": (E,),
        "vision_model.embeddings.position_embedding": (1, GRID * GRID + 1, E),
    }

    def linear(name, rows, columns, bias=True):
        shapes[name + ".weight"] = (rows, columns)
        if bias:
            shapes[name + ".bias"] = (rows,)

    for layer in range(VISION_LAYERS):
        at = f"vision_model.encoder.layers.{layer}."
        linear(at + "attn.qkv", 3 * E, E, not six)
        linear(at + "attn.proj", E, E)
        linear(at + "mlp.fc1", 2 * E, E)
        linear(at + "mlp.fc2", E, 2 * E)
        shapes |= {at + name: (E,) for name in ("ls1", "ls2", "norm1.weight", "norm2.weight")}
        shapes |= {
            at + name: (E,)
            for name in (("attn.q_norm.weight", "attn.k_norm.weight") if six else ("norm1.bias", "norm2.bias"))
        }
    shapes |= {"mlp1.0.weight": (4 * E,), "mlp1.0.bias": (4 * E,)}
    linear("mlp1.1", C, 4 * E)
    linear("mlp1.3", C, C)
    names = dict(
        internlm2=("tok_embeddings", "output", "attention_norm", "ffn_norm", "attention.wqkv", "attention.wo"),
        phi3=(
            "embed_tokens",
            "lm_head",
            "input_layernorm",
            "post_attention_layernorm",
            "self_attn.qkv_proj",
            "self_attn.o_proj",
        ),
    )[language]
    embeddings, head, first_norm, second_norm, qkv, output = names
    at = "language_model.model."
    shapes |= {
        f"{at}{embeddings}.weight": (VOCABULARY, C),
        f"language_model.{head}.weight": (VOCABULARY, C),
        f"{at}norm.weight": (C,),
    }
    for layer in range(LAYERS):
        at = f"language_model.model.layers.{layer}."
        shapes |= {f"{at}{first_norm}.weight": (C,), f"{at}{second_norm}.weight": (C,)}
        linear(at + qkv, (HEADS + 2 * KV_HEADS[language]) * D, C, False)
        linear(at + output, C, C, False)
        if language == "internlm2":
            for name, shape in (("w1", (F, C)), ("w3", (F, C)), ("w2", (C, F))):
                shapes[f"{at}feed_forward.{name}.weight"] = shape
        else:
            linear(at + "mlp.gate_up_proj", 2 * F, C, False)
            linear(at + "mlp.down_proj", C, F, False)
    return shapes


TOWER_NAMES = (
    ("class_embedding", "cls_token"),
    ("patch_embedding.", "patch_embeddings.projection."),
    ("position_embedding", "position_embeddings"),
    ("encoder.layers.", "encoder.layer."),
    (".attn.proj.", ".attention.projection_layer."),
    (".attn.", ".attention."),
    (".norm1.", ".layernorm_before."),
    (".norm2.", ".layernorm_after."),
    (".ls1", ".lambda_1"),
    (".ls2", ".lambda_2"),
)


def tower_of(tensors, six):
    """The InternViT of transformers with the weights of the original layout."""
    from transformers import InternVLVisionConfig, InternVLVisionModel

    tower = InternVLVisionModel(
        InternVLVisionConfig(
            hidden_size=VISION_WIDTH,
            intermediate_size=2 * VISION_WIDTH,
            num_hidden_layers=VISION_LAYERS,
            num_attention_heads=VISION_HEADS,
            image_size=[SIDE, SIDE],
            patch_size=[PATCH, PATCH],
            layer_norm_eps=1e-6,
            norm_type="rms_norm" if six else "layer_norm",
            use_qk_norm=six,
            attention_bias=not six,
            hidden_dropout_prob=0.0,
            attention_dropout=0.0,
            projection_dropout=0.0,
            use_absolute_position_embeddings=True,
            use_mask_token=False,
            use_mean_pooling=True,
            hidden_act="gelu",
        )
    ).eval()
    renamed = {}
    for name, tensor in tensors.items():
        if not name.startswith("vision_model."):
            continue
        name = name.removeprefix("vision_model.")
        for old, new in TOWER_NAMES:
            name = name.replace(old, new)
        if ".qkv." in name:
            renamed |= {
                name.replace(".qkv.", f".{c}_proj."): part for c, part in zip("qkv", tensor.split(VISION_WIDTH))
            }
        else:
            renamed[name] = tensor
    tower.load_state_dict(renamed)
    return tower


def project(hidden, tensors):
    """The tower's rows of each tile [n, GRID * GRID, E] -> [n * COUNT, C]: 2 x 2 rows side by side (pixel shuffle v2),
    then LayerNorm and two linear layers."""
    n, E = hidden.shape[0], hidden.shape[-1]
    x = hidden.view(n, GRID, MERGED, 2 * E).permute(0, 2, 1, 3).reshape(n, MERGED, MERGED, 4 * E).permute(0, 2, 1, 3)
    x = torch.nn.functional.layer_norm(
        x.reshape(n * COUNT, 4 * E), (4 * E,), tensors["mlp1.0.weight"], tensors["mlp1.0.bias"]
    )
    x = torch.nn.functional.gelu(x @ tensors["mlp1.1.weight"].T + tensors["mlp1.1.bias"])
    return x @ tensors["mlp1.3.weight"].T + tensors["mlp1.3.bias"]


class InternVL2:
    def __init__(self, root, family, language, six, generator):
        self.root, self.family, self.language, self.generator = root, family, language, generator
        self.config = config_of(language, six)
        drawn = {name: torch.zeros(shape) for name, shape in shapes_of(language, six).items()}
        draw_weights(drawn, generator)
        write_checkpoint(f"{root}/{family}/model", drawn, self.config)
        self.tensors = load_file(f"{root}/{family}/model/model.safetensors")
        self.tower = tower_of(self.tensors, six)
        at = "language_model."
        self.embeddings = self.tensors[
            at + ("model.tok_embeddings.weight" if language == "internlm2" else "model.embed_tokens.weight")
        ]
        self.head = self.tensors[at + ("output.weight" if language == "internlm2" else "lm_head.weight")]
        self.reference = self.decoder({})

    def decoder(self, overrides):
        """The reference decoder under changes to the language model's config."""
        text = self.config["llm_config"] | overrides
        scaling = text["rope_scaling"]
        if self.language == "internlm2":
            rope = dict(type="dynamic", factor=scaling["factor"], max_pos=text["max_position_embeddings"])
        else:
            rope = dict(
                type="su",
                short=scaling["short_factor"],
                long=scaling["long_factor"],
                orig=text["original_max_position_embeddings"],
                max_pos=text["max_position_embeddings"],
            )
        spec = Spec(
            self.language, LAYERS, HEADS, KV_HEADS[self.language], WIDTH // HEADS, 1e-5, THETA[self.language], rope
        )
        at = "language_model.model."
        return Decoder(spec, split_weights(self.tensors, spec, at), self.tensors[at + "norm.weight"], self.head)

    def inputs(self, tiles):
        """`tiles`: how many tiles each image has."""
        pixels = normal(self.generator, sum(tiles), 3, SIDE, SIDE)
        blocks = [(START, CONTEXT, COUNT * count, END) for count in tiles]
        ids, starts = prompt_with(self.generator, TEXT_IDS, blocks, BEFORE, AFTER)
        spans = [Span(start + COUNT * i, MERGED, MERGED) for start, count in zip(starts, tiles) for i in range(count)]
        return ids, pixels, spans

    def decode(self, count):
        return torch.randint(3, TEXT_IDS, (count,), generator=self.generator)

    def merged(self, ids, pixels):
        """The language model's input [T, C], the tower's rows and the projected ones."""
        hidden = self.tower(pixel_values=pixels).last_hidden_state[:, 1:]
        features = project(hidden, self.tensors)
        entered = self.embeddings[ids].clone()
        entered[ids == CONTEXT] = features
        return entered, hidden, features

    def case(self, name, tiles, overrides=None, reuse=None):
        ids, pixels, spans = reuse or self.inputs(tiles)
        decode, end = self.decode(4), len(ids)
        entered, hidden, features = self.merged(ids, pixels)
        case = Case(
            self.root,
            self.family,
            name,
            self.decoder(overrides or {}),
            FFN,
            spans,
            entered,
            torch.arange(end),
            decode,
            self.embeddings[decode],
            torch.arange(end, end + 4),
            img_context_token_id=CONTEXT,
            img_start_token_id=START,
            img_end_token_id=END,
            vocab=VOCABULARY,
            tiles_per_image=tiles,
            config_overrides=dict(llm_config=overrides) if overrides else {},
            compare_hidden_rows="all",
        )
        case.dense(dict(input_ids=ids, pixel_values=pixels), dict(vision_hidden=hidden, vision_features=features))
        return case, (ids, pixels, spans)

    def heads(self):
        prefill, first_step, inputs = [], [], []
        for _ in range(5):
            ids, pixels, spans = self.inputs([1])
            decode, end = self.decode(1), len(ids)
            sample = (
                self.merged(ids, pixels)[0],
                torch.arange(end),
                self.embeddings[decode],
                torch.arange(end, end + 1),
                spans,
            )
            both = ratios_of(self.reference, sample)
            prefill.append(both[0])
            first_step.append(both[1])
            inputs.append(dict(input_ids=ids, pixel_values=pixels, decode_token=decode))
        write_ratios(f"{self.root}/{self.family}/heads", prefill, first_step, inputs, QWEN_UPSTREAM)


def make_internlm2(root):
    generator = torch.Generator().manual_seed(3000)
    family = InternVL2(root, "internvl2_internlm2", "internlm2", False, generator)
    case, single = family.case("single", [1])
    qwen_variants(case, generator, WINDOW, CUT, "inferred")
    case.finish()
    for name, tiles in (("tiles2_thumb", [3]), ("two_images", [1, 1])):
        case, _ = family.case(name, tiles)
        several_pictures(case, generator, WINDOW, CUT)
        case.finish()
    case, _ = family.case("ntk_active", [1], dict(max_position_embeddings=len(single[0]) - 10), single)
    case.finish(
        note="prefill and every decode step exceed max_position_embeddings: NTK base is recomputed from kv length at "
        "each call; cached keys keep the rotation they were written with"
    )
    family.heads()


def make_internlm2_6b(root):
    generator = torch.Generator().manual_seed(3500)
    family = InternVL2(root, "internvl2_internlm2_6b", "internlm2", True, generator)
    case, _ = family.case("single", [1])
    mask = draw_head_mask(generator, LAYERS, HEADS)
    case.pruned(
        "default",
        Prune(headmask=mask, headcut_from=2, layercut=CUT, layercut_mode="pre_qwen"),
        "inferred",
        attention=True,
    )
    case.finish()


def make_phi3(root):
    generator = torch.Generator().manual_seed(4000)
    family = InternVL2(root, "internvl2_phi3", "phi3", False, generator)
    case, single = family.case("single", [1])
    qwen_variants(case, generator, WINDOW, CUT, "inferred")
    case.finish()
    case, _ = family.case("long_factor", [1], dict(original_max_position_embeddings=len(single[0]) - 10), single)
    case.finish(
        note="sequence longer than original_max_position_embeddings: long_factor branch and its attention scale"
    )
    family.heads()
