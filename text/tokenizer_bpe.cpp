#include "text/tokenizer_bpe.h"

#include <algorithm>
#include <set>

#include "core/error.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer_keys.h"
#include "text/tokenizer_parts.h"
#include "text/unicode.h"

namespace yopo {

namespace {

using namespace tokenizer_parts;

/// What transformers' converter writes for Qwen2's vocab.json and merges.txt.
constexpr std::string_view kQwen2Parts = R"json({
  "normalizer": {"type": "NFC"},
  "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
    {"type": "Split", "behavior": "Isolated", "invert": false, "pattern": {"Regex":
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|)json"
                                         R"json(\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},
    {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]},
  "post_processor": {"type": "ByteLevel"},
  "decoder": {"type": "ByteLevel"}})json";

class BpeTokenizer : public Tokenizer {
 public:
  /// `parts`: tokenizer.json's object, or one like it; `where` names it in messages.
  BpeTokenizer(BpeModel model, const Json& parts, const std::string& where, const fs::path& folder,
               TokenizerConfig config)
      : model_(std::move(model)), clean_up_spaces_(config.clean_up_spaces) {
    const auto part = [&](const char* key) { return has(parts, key) ? parts.at(key) : Json(); };
    normalizer_ = read_normalizer(part("normalizer"), where + ": normalizer");
    pre_tokenizer_ = read_pre_tokenizer(part("pre_tokenizer"), where + ": pre_tokenizer");
    // The reference asks for the original place of a rewritten text's first character: not modelled, so not guessed.
    for (const PreTokenizer& step : pre_tokenizer_)
      if (const auto* space = std::get_if<Metaspace>(&step))
        require(normalizer_.empty() || space->prepend != Metaspace::Prepend::First,
                "{}: a Metaspace with prepend_scheme first behind a normalizer is not supported", where);
    template_ = read_post_processor(part("post_processor"), where + ": post_processor");
    decoder_ = read_decoder(part("decoder"), where + ": decoder");
    for (const auto& [id, unused] : model_.tokens()) largest_ = std::max(largest_, id);
    if (has(parts, "added_tokens"))
      for (const Json& entry : get_array(parts, "added_tokens", where)) {
        AddedToken token = parse_added_token(entry, where + ": added_tokens");
        token.id = get_int(entry, "id", where + ": added_tokens", 0, INT32_MAX);
        require(!added_ids_.contains(token.content), "{}: added_tokens: '{}' is given twice", where,
                printable(token.content));
        add(token, where + ": added_tokens");
      }
    const std::string config_where = (folder / "tokenizer_config.json").string();
    for (AddedToken& token : config.added) {
      token.special |= std::any_of(config.special.begin(), config.special.end(),
                                   [&](const AddedToken& other) { return other.content == token.content; });
      if (config.flags_given || !added_ids_.contains(token.content)) add(token, config_where);
    }
    for (AddedToken token : config.special)
      // One that the vocabulary lacks would get an id past the model's embeddings: leave it text.
      if (!added_ids_.contains(token.content) && (token.id = model_.id_of(token.content)) >= 0)
        add(token, config_where);
    if (config.is_llama()) {
      const auto ids = [&](bool wanted, const std::string& token, const char* key) -> std::vector<int64_t> {
        if (!wanted) return {};
        require(id_of(token) >= 0, "{}: {} '{}' is not in the vocabulary", config_where, key, printable(token));
        return {id_of(token)};
      };
      template_ = {ids(config.add_bos_token, config.bos_token, "bos_token"),
                   ids(config.add_eos_token, config.eos_token, "eos_token")};
    }
    index_added();
  }

  std::vector<int64_t> encode(std::string_view given, bool add_special) const override {
    const std::string text = repair_utf8(given);
    std::vector<int64_t> ids;
    if (add_special) ids = template_.before;
    bool first = true;  // nothing of the text has gone into a piece yet
    split(raw_, text, [&](int64_t id, std::string_view part) {
      if (id >= 0) {
        ids.push_back(id);
      } else {
        const std::string normal = normalize(normalizer_, std::string(part));
        split(normal_, normal, [&](int64_t inner, std::string_view piece) {
          if (inner >= 0) {
            ids.push_back(inner);
          } else {
            encode_piece(piece, first, ids);
          }
          first = false;
        });
      }
      first = false;
    });
    if (add_special) ids.insert(ids.end(), template_.after.begin(), template_.after.end());
    return ids;
  }

  std::string decode(const std::vector<int64_t>& ids, bool skip_special) const override {
    std::vector<std::string> tokens;
    for (const int64_t id : ids) {
      const std::string* token = nullptr;
      if (const auto it = added_contents_.find(id); it != added_contents_.end()) {
        token = &it->second;
      } else if (const auto own = model_.tokens().find(id); own != model_.tokens().end()) {
        token = &own->second;
      }
      if (token == nullptr || (skip_special && special_.contains(*token))) continue;
      tokens.push_back(*token);
    }
    std::string text = decode_tokens(decoder_, std::move(tokens));
    return clean_up_spaces_ ? clean_up_spaces(std::move(text)) : text;
  }

  int64_t vocab_size() const override { return largest_ + 1; }

  int64_t id_of(std::string_view token) const override {
    const auto it = added_ids_.find(std::string(token));
    return it == added_ids_.end() ? model_.id_of(token) : it->second;
  }

 private:
  /// One that is there already takes the new flags, but stays special, as in the reference.
  void add(const AddedToken& token, const std::string& where) {
    const int64_t own = id_of(token.content);
    require(own < 0 || own == token.id, "{}: '{}' has id {} and in the vocabulary {}", where, printable(token.content),
            token.id, own);
    if (token.special) special_.insert(token.content);
    if (const auto old = added_ids_.find(token.content); old != added_ids_.end()) {
      for (AddedToken& other : added_)
        if (other.id == token.id) other = token;
      return;
    }
    // The reference numbers tokens that the vocabulary lacks itself, in order; a file that says otherwise has holes.
    const int64_t size = int64_t(model_.tokens().size());
    const int64_t next = largest_added_ >= size ? largest_added_ + 1 : size;
    require(own >= 0 || token.id == next, "{}: '{}' has id {}; expected the next free one, {}", where,
            printable(token.content), token.id, next);
    largest_added_ = std::max(largest_added_, token.id);
    added_ids_.emplace(token.content, token.id);
    require(added_contents_.emplace(token.id, token.content).second, "{}: id {} is given twice", where, token.id);
    largest_ = std::max(largest_, token.id);
    added_.push_back(token);
  }

  void index_added() {
    for (size_t i = 0; i < added_.size(); ++i) {
      const std::string content = added_[i].normalized ? normalize(normalizer_, added_[i].content) : added_[i].content;
      if (!content.empty()) (added_[i].normalized ? normal_ : raw_).add(content, i);
    }
  }

  /// Calls use(id, "") for every added token and use(-1, text) for what lies between, in order; no empty texts.
  template <typename Use>
  void split(const TokenTrie& trie, std::string_view text, Use use) const {
    size_t done = 0, from = 0;
    while (const auto match = trie.find(text, from)) {
      const AddedToken& token = added_[match->value];
      size_t start = match->start, stop = match->end;
      from = stop;
      if (token.single_word && (touches_word(text, start, true) || touches_word(text, stop, false))) continue;
      if (token.lstrip) {
        while (start > done) {
          size_t before = start - 1;
          while (before > 0 && (uint8_t(text[before]) & 0xC0) == 0x80) --before;
          if (!is_white_space(first_code_point(text.substr(before)).value)) break;
          start = std::max(before, done);
        }
      }
      if (token.rstrip) {
        while (stop < text.size()) {
          const CodePoint point = first_code_point(text.substr(stop));
          if (!is_white_space(point.value)) break;
          stop += point.bytes;
        }
      }
      if (done < start) use(int64_t(-1), text.substr(done, start - done));
      use(token.id, std::string_view());
      done = stop;
    }
    if (done < text.size()) use(int64_t(-1), text.substr(done));
  }

  /// Whether the character before (or at) a byte position is a word character.
  static bool touches_word(std::string_view text, size_t at, bool before) {
    if (before) {
      if (at == 0) return false;
      do --at;
      while (at > 0 && (uint8_t(text[at]) & 0xC0) == 0x80);
    }
    return at < text.size() && is_word_character(first_code_point(text.substr(at)).value);
  }

  void encode_piece(std::string_view piece, bool first, std::vector<int64_t>& ids) const {
    if (pre_tokenizer_.empty()) return model_.encode(piece, ids);
    for (const std::string& part : pre_tokenize(pre_tokenizer_, piece, first)) model_.encode(part, ids);
  }

  BpeModel model_;
  std::vector<Rewrite> normalizer_, decoder_;
  std::vector<PreTokenizer> pre_tokenizer_;
  Template template_;
  std::vector<AddedToken> added_;
  TokenTrie raw_, normal_;  // values index added_
  std::unordered_map<std::string, int64_t> added_ids_;
  std::unordered_map<int64_t, std::string> added_contents_;
  std::set<std::string> special_;
  int64_t largest_ = -1, largest_added_ = -1;
  bool clean_up_spaces_ = false;
};

}  // namespace

std::unique_ptr<Tokenizer> open_bpe_tokenizer(const fs::path& folder) {
  const fs::path file = folder / "tokenizer.json";
  const std::string where = file.string();
  const Json json = read_json(file);
  require(json.is_object(), "{}: expected an object", where);
  check_keys(json, tokenizer_reader(), where);
  return std::make_unique<BpeTokenizer>(BpeModel::parse(get_object(json, "model", where), where + ": model"), json,
                                        where, folder, read_tokenizer_config(folder, ""));
}

std::unique_ptr<Tokenizer> open_vocab_tokenizer(const fs::path& folder) {
  TokenizerConfig config = read_tokenizer_config(folder, "Qwen2Tokenizer");
  require(
      config.tokenizer_class == "Qwen2Tokenizer",
      "{}: with vocab.json and no tokenizer.json, tokenizer_class '{}' is not supported; supported is Qwen2Tokenizer",
      (folder / "tokenizer_config.json").string(), printable(config.tokenizer_class));
  return std::make_unique<BpeTokenizer>(BpeModel::read(folder / "vocab.json", folder / "merges.txt"),
                                        parse_json(kQwen2Parts, "Qwen2Tokenizer"), folder.string(), folder,
                                        std::move(config));
}

}  // namespace yopo
