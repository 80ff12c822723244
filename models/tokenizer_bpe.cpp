#include "models/tokenizer_bpe.h"

#include <algorithm>
#include <set>

#include "core/error.h"
#include "datasets/unicode.h"
#include "models/added_tokens.h"
#include "models/bpe.h"
#include "models/tokenizer_parts.h"

namespace yopo {

namespace {

using namespace tokenizer_parts;

class BpeTokenizer : public Tokenizer {
 public:
  explicit BpeTokenizer(const fs::path& folder) {
    const fs::path file = folder / "tokenizer.json";
    const std::string where = file.string();
    const Json json = read_json(file);
    require(json.is_object(), "{}: expected an object", where);
    const auto part = [&](const char* key) { return has(json, key) ? json.at(key) : Json(); };
    model_ = BpeModel::parse(get_object(json, "model", where), where + ": model");
    normalizer_ = read_normalizer(part("normalizer"), where + ": normalizer");
    pre_tokenizer_ = read_pre_tokenizer(part("pre_tokenizer"), where + ": pre_tokenizer");
    // The reference asks for the original place of a rewritten text's first character: not modelled, so not guessed.
    require(normalizer_.empty() || !pre_tokenizer_ || pre_tokenizer_->prepend != Metaspace::Prepend::First,
            "{}: a Metaspace with prepend_scheme first behind a normalizer is not supported", where);
    template_ = read_post_processor(part("post_processor"), where + ": post_processor");
    decoder_ = read_decoder(part("decoder"), where + ": decoder");
    for (const auto& [id, unused] : model_.tokens()) largest_ = std::max(largest_, id);
    if (has(json, "added_tokens"))
      for (const Json& entry : get_array(json, "added_tokens", where)) {
        AddedToken token = parse_added_token(entry, where + ": added_tokens");
        token.id = get_int(entry, "id", where + ": added_tokens", 0, INT32_MAX);
        add(token, where + ": added_tokens");
      }
    const TokenizerConfig config = read_tokenizer_config(folder);
    const std::string config_where = (folder / "tokenizer_config.json").string();
    for (const AddedToken& token : config.added)
      if (!added_ids_.contains(token.content)) add(token, config_where);
    for (AddedToken token : config.special)
      // One that the vocabulary lacks would get an id past the model's embeddings: leave it text.
      if (!added_ids_.contains(token.content) && (token.id = model_.id_of(token.content)) >= 0)
        add(token, config_where);
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
    return decode_tokens(decoder_, std::move(tokens));
  }

  int64_t vocab_size() const override { return largest_ + 1; }

  int64_t id_of(std::string_view token) const override {
    const auto it = added_ids_.find(std::string(token));
    return it == added_ids_.end() ? model_.id_of(token) : it->second;
  }

 private:
  void add(const AddedToken& token, const std::string& where) {
    const int64_t own = model_.id_of(token.content);
    require(own < 0 || own == token.id, "{}: '{}' has id {} and in the vocabulary {}", where, printable(token.content),
            token.id, own);
    // The reference numbers tokens that the vocabulary lacks itself, in order; a file that says otherwise has holes.
    const int64_t size = int64_t(model_.tokens().size());
    const int64_t next = largest_added_ >= size ? largest_added_ + 1 : size;
    require(own >= 0 || token.id == next, "{}: '{}' has id {}; expected the next free one, {}", where,
            printable(token.content), token.id, next);
    largest_added_ = std::max(largest_added_, token.id);
    require(added_ids_.emplace(token.content, token.id).second, "{}: '{}' is given twice", where,
            printable(token.content));
    require(added_contents_.emplace(token.id, token.content).second, "{}: id {} is given twice", where, token.id);
    if (token.special) special_.insert(token.content);
    largest_ = std::max(largest_, token.id);
    if (token.normalized) {
      const std::string content = normalize(normalizer_, token.content);
      if (!content.empty()) normal_.add(content, added_.size());
    } else {
      raw_.add(token.content, added_.size());
    }
    added_.push_back(token);
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
    if (!pre_tokenizer_) return model_.encode(piece, ids);
    const Metaspace& space = *pre_tokenizer_;
    std::string text = replace_all(piece, " ", space.mark);
    const bool wanted =
        space.prepend == Metaspace::Prepend::Always || (space.prepend == Metaspace::Prepend::First && first);
    if (wanted && !text.starts_with(space.mark)) text = space.mark + text;
    if (!space.split) return model_.encode(text, ids);
    // Every mark starts a piece of its own.
    for (size_t start = 0; start < text.size();) {
      const size_t end = std::min(
          text.find(space.mark, start + space.mark.size() * text.substr(start).starts_with(space.mark)), text.size());
      model_.encode(std::string_view(text).substr(start, end - start), ids);
      start = end;
    }
  }

  BpeModel model_;
  std::vector<Rewrite> normalizer_, decoder_;
  std::optional<Metaspace> pre_tokenizer_;
  Template template_;
  std::vector<AddedToken> added_;
  TokenTrie raw_, normal_;  // values index added_
  std::unordered_map<std::string, int64_t> added_ids_;
  std::unordered_map<int64_t, std::string> added_contents_;
  std::set<std::string> special_;
  int64_t largest_ = -1, largest_added_ = -1;
};

}  // namespace

std::unique_ptr<Tokenizer> open_bpe_tokenizer(const fs::path& folder) { return std::make_unique<BpeTokenizer>(folder); }

}  // namespace yopo
