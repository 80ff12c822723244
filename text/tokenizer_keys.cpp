#include "text/tokenizer_keys.h"

namespace yopo {

namespace {

constexpr const char* kWriter = "says who wrote the file, or from where";
constexpr const char* kCalls = "how a call cuts and fills texts; prompts are taken whole";
constexpr const char* kNamed = "tokenizer.json has the token itself";

}  // namespace

const KeyReader& tokenizer_config_reader() {
  static const KeyReader reader = {
      "tokenizer_config.json",
      joined(
          {read_keys({"tokenizer_class", "added_tokens_decoder", "additional_special_tokens", "extra_special_tokens",
                      "model_specific_special_tokens", "bos_token", "eos_token", "unk_token", "pad_token", "sep_token",
                      "cls_token", "mask_token", "add_bos_token", "add_eos_token", "add_prefix_space", "legacy",
                      "clean_up_tokenization_spaces", "chat_template"}),
           idle_keys(kWriter, {"name_or_path", "processor_class", "auto_map", "backend", "is_local", "local_files_only",
                               "tokenizer_file", "vocab_file", "merges_file", "special_tokens_map_file", "from_slow",
                               "use_fast", "trust_remote_code", "transformers_version", "device_map", "_commit_hash"}),
           idle_keys(kCalls, {"padding_side", "truncation_side", "truncation", "truncation_strategy", "padding",
                              "max_length", "stride", "pad_to_multiple_of", "pad_token_type_id", "model_input_names",
                              "return_token_type_ids"}),
           idle_keys("config.json says how long a prompt may be", {"model_max_length"}),
           idle_keys(kNamed, {"image_token", "video_token", "audio_token", "context_image_token", "start_image_token",
                              "end_image_token", "vision_bos_token", "vision_eos_token", "boi_token", "eoi_token"}),
           idle_keys("the family's template writes the system turn", {"use_default_system_prompt"}),
           idle_keys("of decoding with the slow tokenizers", {"spaces_between_special_tokens", "errors"}),
           {refused_key("split_special_tokens", "[false]", "special tokens are taken whole"),
            refused_key("do_lower_case", "[false]", "it is not supported"),
            refused_key("sp_model_kwargs", "[{}]", "sampled tokens are not supported")}})};
  return reader;
}

const KeyReader& tokenizer_reader() {
  static const KeyReader reader = {
      "tokenizer.json",
      joined({read_keys({"added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model"}),
              idle_keys(kWriter, {"version"}), idle_keys(kCalls, {"truncation", "padding"})})};
  return reader;
}

}  // namespace yopo
