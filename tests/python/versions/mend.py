"""What a version of transformers is known to do wrong, put right before it is taken as the reference."""
import transformers


def mend(model):
    """4.57's SigLIP gives its last hidden state behind the norm that ends the tower, and so LLaVA-OneVision's features are normed
    (huggingface/transformers issue 40964, put right in version 5). Without this a checkpoint answers differently in 4.57 and in 5.24."""
    if model.config.model_type == "llava_onevision" and transformers.__version__.startswith("4.57."):
        from torch.nn import Identity
        model.model.vision_tower.vision_model.post_layernorm = Identity()
    return model
