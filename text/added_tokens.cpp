#include "text/added_tokens.h"

#include <algorithm>
#include <charconv>
#include <map>

#include "core/error.h"
#include "text/tokenizer_keys.h"

namespace yopo {

namespace {

/// The special tokens of transformers, in the order in which it adds them.
constexpr const char* kSpecialNames[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                         "pad_token", "cls_token", "mask_token"};

/// A special token is written as a string or as an object.
AddedToken special_of(const Json& value, const std::string& where) {
  AddedToken token;
  if (value.is_string()) {
    token.content = value.get<std::string>();
    require(!token.content.empty(), "{}: expected a token, found an empty string", where);
  } else {
    token = parse_added_token(value, where);
  }
  token.normalized = false;
  token.special = true;
  return token;
}

void add_special(TokenizerConfig& config, const AddedToken& token) {
  const bool known = std::any_of(config.special.begin(), config.special.end(),
                                 [&](const AddedToken& other) { return other.content == token.content; });
  if (!known) config.special.push_back(token);
}

int64_t id_of_key(const std::string& key, const std::string& where) {
  int64_t id = -1;
  const auto [end, code] = std::from_chars(key.data(), key.data() + key.size(), id);
  require(code == std::errc() && end == key.data() + key.size() && id >= 0 && id <= kLargestId,
          "{}: expected a token id in [0, {}] as key, found '{}'", where, kLargestId, printable(key));
  return id;
}

Json read_object(const fs::path& file) {
  if (!fs::exists(file)) return Json::object();
  Json json = read_json(file);
  require(json.is_object(), "{}: expected an object", file.string());
  return json;
}

}  // namespace

AddedToken parse_added_token(const Json& object, const std::string& where) {
  AddedToken token;
  token.content = get_string(object, "content", where);
  require(!token.content.empty(), "{}: 'content' is empty", where);
  token.lstrip = get_bool_or(object, "lstrip", where, false);
  token.rstrip = get_bool_or(object, "rstrip", where, false);
  token.single_word = get_bool_or(object, "single_word", where, false);
  token.special = get_bool_or(object, "special", where, false);
  token.normalized = get_bool_or(object, "normalized", where, !token.special);
  return token;
}

TokenizerConfig read_tokenizer_config(const fs::path& folder, const std::string& fallback_class) {
  TokenizerConfig config;
  const fs::path file = folder / "tokenizer_config.json";
  const std::string where = file.string();
  const Json json = read_object(file);
  check_keys(json, tokenizer_config_reader(), where);
  config.legacy = get_bool_or(json, "legacy", where, true);
  config.add_bos_token = get_bool_or(json, "add_bos_token", where, true);
  config.add_eos_token = get_bool_or(json, "add_eos_token", where, false);
  config.add_prefix_space = get_bool_or(json, "add_prefix_space", where, true);
  config.clean_up_spaces = get_bool_or(json, "clean_up_tokenization_spaces", where, false);
  config.tokenizer_class = get_string_or(json, "tokenizer_class", where, fallback_class);
  if (config.tokenizer_class.ends_with("Fast")) config.tokenizer_class.resize(config.tokenizer_class.size() - 4);
  if (config.is_llama()) {
    config.bos_token = "<s>", config.eos_token = "</s>", config.unk_token = "<unk>";
  } else if (config.tokenizer_class == "Qwen2Tokenizer") {
    config.eos_token = config.unk_token = "<|endoftext|>";
  }

  // Older checkpoints keep the special tokens' names in a second file, which then has the last word.
  const bool complete = config.flags_given = has(json, "added_tokens_decoder");
  const fs::path map_file = folder / "special_tokens_map.json";
  const Json map = complete ? Json::object() : read_object(map_file);
  const auto source = [&](const std::string& key) -> std::pair<const Json*, std::string> {
    if (has(map, key)) return {&map.at(key), map_file.string() + ": " + key};
    if (has(json, key)) return {&json.at(key), where + ": " + key};
    return {nullptr, ""};
  };
  const std::map<std::string, std::string*> named = {
      {"bos_token", &config.bos_token}, {"eos_token", &config.eos_token}, {"unk_token", &config.unk_token}};
  for (const std::string key : kSpecialNames) {
    const auto [value, place] = source(key);
    const auto name = named.find(key);
    // null says that there is none, whatever the class has.
    if (name != named.end() && json.contains(key) && json[key].is_null()) name->second->clear();
    if (value != nullptr) {
      const AddedToken token = special_of(*value, place);
      if (name != named.end()) *name->second = token.content;
      add_special(config, token);
    } else if (name != named.end() && !name->second->empty()) {
      add_special(config, special_of(*name->second, key));
    }
  }
  const auto add_list = [&](const Json& list, const std::string& place) {
    require(list.is_array(), "{}: expected a list of tokens", place);
    for (const Json& token : list) {
      add_special(config, special_of(token, place));
      config.additional.push_back(special_of(token, place).content);
    }
  };
  if (const auto [value, place] = source("additional_special_tokens"); value != nullptr) add_list(*value, place);
  // transformers 4 writes tokens by name under the first key, transformers 5 what used to be additional_special_tokens,
  // and tokens by name under the second.
  for (const char* key : {"extra_special_tokens", "model_specific_special_tokens"}) {
    if (!has(json, key)) continue;
    const Json& extra = json[key];
    const std::string place = where + ": " + key;
    if (!extra.is_object()) {
      add_list(extra, place);
    } else {
      for (const auto& [name, token] : extra.items())
        add_special(config, special_of(token, place + ": " + printable(name)));
    }
  }

  std::map<int64_t, AddedToken> by_id;
  std::map<std::string, int64_t> by_content;
  const auto add = [&](int64_t id, AddedToken token, const std::string& place) {
    token.id = id;
    const auto [other, fresh] = by_content.emplace(token.content, id);
    require(fresh, "{}: token '{}' has the ids {} and {}", place, printable(token.content), other->second, id);
    require(by_id.emplace(id, token).second, "{}: id {} is given twice", place, id);
  };
  if (complete) {
    const std::string place = where + ": added_tokens_decoder";
    for (const auto& [key, token] : get_object(json, "added_tokens_decoder", where).items())
      add(id_of_key(key, place), parse_added_token(token, place + ": " + key), place);
  } else {
    const fs::path added_file = folder / "added_tokens.json";
    const Json added = read_object(added_file);
    for (const auto& [content, unused] : added.items()) {
      AddedToken token;
      token.content = content;
      require(!content.empty(), "{}: a token is empty", added_file.string());
      token.special = std::any_of(config.special.begin(), config.special.end(),
                                  [&token](const AddedToken& other) { return other.content == token.content; });
      token.normalized = !token.special;
      add(get_int(added, content, added_file.string(), 0, kLargestId), token, added_file.string());
    }
  }
  for (auto& [id, token] : by_id) config.added.push_back(token);
  return config;
}

void TokenTrie::add(std::string_view token, size_t value) {
  ensure(!token.empty(), "an empty token matches everywhere");
  uint32_t node = 0;
  for (const char c : token) {
    const auto [next, fresh] = next_.emplace(uint64_t(node) << 8 | uint8_t(c), uint32_t(values_.size()));
    if (fresh) values_.push_back(kNone);
    node = next->second;
  }
  starts_[uint8_t(token[0])] = true;
  if (values_[node] == kNone) values_[node] = value;
}

std::optional<TokenTrie::Match> TokenTrie::find(std::string_view text, size_t from) const {
  for (size_t start = from; start < text.size(); ++start) {
    if (!starts_[uint8_t(text[start])]) continue;
    std::optional<Match> longest;
    uint32_t node = 0;
    for (size_t at = start; at < text.size(); ++at) {
      const auto next = next_.find(uint64_t(node) << 8 | uint8_t(text[at]));
      if (next == next_.end()) break;
      node = next->second;
      if (values_[node] != kNone) longest = Match{start, at + 1, values_[node]};
    }
    if (longest) return longest;
  }
  return std::nullopt;
}

}  // namespace yopo
