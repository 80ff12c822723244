#include "models/families/common_keys.h"

namespace yopo {

namespace {

constexpr const char* kWriter = "says who wrote the file, or with which class to load it";
constexpr const char* kStored = "weights are read in the type they are stored in";
constexpr const char* kTraining = "for training";
constexpr const char* kReturned = "says what a forward of transformers returns, or how it runs";
constexpr const char* kClassifier = "of classifiers";
constexpr const char* kGeneration = "how transformers generates; here flags and recipes say it";
constexpr const char* kAssisted = "of speculative decoding and of ways to run";

}  // namespace

const KnownKeys& config_keys() {
  static const KnownKeys keys = joined(
      {idle_keys("the root of config.json says which model it is", {"architectures", "model_type"}),
       idle_keys("another object says it, or the class never ties", {"tie_word_embeddings"}),
       idle_keys(kWriter, {"_name_or_path", "transformers_version", "_commit_hash", "auto_map", "name_or_path"}),
       idle_keys(kStored, {"torch_dtype", "dtype", "use_bfloat16"}),
       idle_keys(kTraining, {"initializer_range", "initializer_factor", "attention_dropout", "gradient_checkpointing",
                             "tf_legacy_loss", "label_smoothing"}),
       idle_keys(kReturned, {"output_attentions", "output_hidden_states", "return_dict", "torchscript", "use_cache",
                             "_attn_implementation", "_attn_implementation_autoset", "attn_implementation",
                             "use_flash_attn", "chunk_size_feed_forward"}),
       idle_keys(kClassifier, {"id2label", "label2id", "num_labels", "problem_type", "finetuning_task",
                               "task_specific_params", "classifier_dropout"}),
       idle_keys("the tokenizer's files say it", {"tokenizer_class", "prefix", "sep_token_id"}),
       idle_keys(kGeneration, {"max_length",
                               "min_length",
                               "do_sample",
                               "early_stopping",
                               "num_beams",
                               "num_beam_groups",
                               "diversity_penalty",
                               "temperature",
                               "top_k",
                               "top_p",
                               "typical_p",
                               "repetition_penalty",
                               "length_penalty",
                               "no_repeat_ngram_size",
                               "bad_words_ids",
                               "encoder_no_repeat_ngram_size",
                               "num_return_sequences",
                               "output_scores",
                               "forced_bos_token_id",
                               "return_dict_in_generate",
                               "forced_eos_token_id",
                               "remove_invalid_values",
                               "suppress_tokens",
                               "exponential_decay_length_penalty",
                               "decoder_start_token_id",
                               "begin_suppress_tokens"}),
       idle_keys("of models with an encoder", {"tie_encoder_decoder", "cross_attention_hidden_size", "is_decoder"}),
       {refused_key("is_encoder_decoder", "[false]", "models with an encoder of text are not supported"),
        refused_key("add_cross_attention", "[false]", "cross-attention is not supported"),
        refused_key("pruned_heads", "[{}]", "heads that transformers has cut out are not supported")}});
  return keys;
}

const KeyReader& common_reader() {
  static const KeyReader reader = {"every object of config.json", config_keys()};
  return reader;
}

KnownKeys root_keys() { return read_keys({"architectures", "model_type"}); }

const KnownKeys& decoder_keys() {
  static const KnownKeys keys =
      joined({read_keys({"num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim",
                         "intermediate_size", "vocab_size", "max_position_embeddings", "rms_norm_eps", "hidden_act",
                         "rope_theta", "rope_scaling", "rope_parameters", "original_max_position_embeddings",
                         "partial_rotary_factor", "bos_token_id", "eos_token_id", "pad_token_id"})});
  return keys;
}

const KeyReader& rope_reader() {
  static const KeyReader reader = {
      "the rotary embedding (rope_parameters, rope_scaling)",
      joined({read_keys({"rope_type", "type", "rope_theta", "partial_rotary_factor", "factor",
                         "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow", "truncate",
                         "mscale", "mscale_all_dim", "low_freq_factor", "high_freq_factor", "short_factor",
                         "long_factor", "mrope_section", "mrope_interleaved"}),
              {told_key("short_mscale", "[1]", "transformers does not read it"),
               told_key("long_mscale", "[1]", "transformers does not read it")}})};
  return reader;
}

const KnownKeys& image_processor_keys() {
  static const KnownKeys keys =
      joined({read_keys({"image_processor_type", "backend", "do_resize", "size", "resample", "do_rescale",
                         "rescale_factor", "do_normalize", "image_mean", "image_std"}),
              idle_keys(kWriter, {"feature_extractor_type", "processor_class", "_valid_processor_keys", "auto_map"}),
              idle_keys("of tensors that are given, not of image files",
                        {"input_data_format", "data_format", "device", "return_tensors", "disable_grouping"}),
              {refused_key("do_convert_rgb", "[true]", "images become RGB"),
               refused_key("pad_size", "[]", "padding to a given size is not supported"),
               refused_key("use_square_size", "[false]", "it is not supported")}});
  return keys;
}

const KeyReader& processor_reader() {
  static const KeyReader reader = {
      "processor_config.json",
      joined({read_keys({"image_processor", "chat_template"}), idle_keys(kWriter, {"processor_class", "auto_map"}),
              idle_keys("of videos", {"video_processor", "video_token", "fps"}),
              idle_keys("of audio", {"feature_extractor", "audio_processor"}),
              idle_keys("the tower and config.json say which token stands for an image, and how many there are",
                        {"image_token", "patch_size", "vision_feature_select_strategy", "num_additional_image_tokens",
                         "image_seq_length", "image_seq_len", "num_image_tokens", "vision_aspect_ratio"}),
              idle_keys("the tokenizer's files say it", {"tokenizer"})})};
  return reader;
}

const KeyReader& generation_reader() {
  static const KeyReader reader = {
      "generation_config.json",
      joined({read_keys({"eos_token_id"}),
              idle_keys(kWriter, {"transformers_version", "_from_model_config", "trust_remote_code"}),
              idle_keys("config.json's are taken", {"bos_token_id", "pad_token_id", "decoder_start_token_id"}),
              idle_keys(kReturned, {"use_cache", "output_attentions", "output_hidden_states", "output_scores",
                                    "output_logits", "return_dict_in_generate", "return_legacy_cache",
                                    "cache_implementation", "cache_config", "max_cache_len", "prefill_chunk_size",
                                    "disable_compile", "compile_config", "continuous_batching_config", "low_memory"}),
              idle_keys(kGeneration, {"max_length", "max_new_tokens", "max_time", "do_sample", "temperature", "top_k",
                                      "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff",
                                      "early_stopping", "num_beam_groups", "diversity_penalty", "length_penalty",
                                      "num_return_sequences", "renormalize_logits", "remove_invalid_values"}),
              idle_keys(kAssisted, {"is_assistant", "num_assistant_tokens", "num_assistant_tokens_schedule",
                                    "assistant_confidence_threshold", "assistant_early_exit", "assistant_lookbehind",
                                    "target_lookbehind", "assistant_ensemble_weight", "prompt_lookup_num_tokens",
                                    "max_matching_ngram_size", "speculation_type", "use_mtp"}),
              {told_key("num_beams", "[1]", "answers are decoded without beams"),
               told_key("repetition_penalty", "[1]", "tokens are chosen by their logits alone"),
               told_key("encoder_repetition_penalty", "[1]", "tokens are chosen by their logits alone"),
               told_key("no_repeat_ngram_size", "[0]", "tokens are chosen by their logits alone"),
               told_key("encoder_no_repeat_ngram_size", "[0]", "tokens are chosen by their logits alone"),
               told_key("min_length", "[0]", "an answer ends where the model ends it"),
               told_key("min_new_tokens", "[0]", "an answer ends where the model ends it"),
               told_key("stop_strings", "[[]]", "an answer ends at its end token"),
               told_key("bad_words_ids", "[[]]", "tokens are chosen by their logits alone"),
               told_key("force_words_ids", "[[]]", "tokens are chosen by their logits alone"),
               told_key("suppress_tokens", "[[]]", "tokens are chosen by their logits alone"),
               told_key("begin_suppress_tokens", "[[]]", "tokens are chosen by their logits alone"),
               told_key("forced_bos_token_id", "[]", "tokens are chosen by their logits alone"),
               told_key("forced_eos_token_id", "[]", "tokens are chosen by their logits alone"),
               told_key("exponential_decay_length_penalty", "[]", "tokens are chosen by their logits alone"),
               told_key("sequence_bias", "[[], {}]", "tokens are chosen by their logits alone"),
               told_key("constraints", "[[]]", "tokens are chosen by their logits alone"),
               told_key("token_healing", "[false]", "prompts are taken as they are"),
               told_key("guidance_scale", "[1]", "there is no guidance"),
               told_key("penalty_alpha", "[0]", "there is no contrastive search"),
               told_key("dola_layers", "[]", "there is no contrastive search"),
               told_key("watermarking_config", "[]", "answers are not marked")}})};
  return reader;
}

}  // namespace yopo
