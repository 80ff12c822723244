#include "text/tokenizer_sentencepiece.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>

#include "core/error.h"
#include "text/added_tokens.h"
#include "text/tokenizer_parts.h"
#include "text/unicode.h"

namespace yopo {

namespace {

constexpr std::string_view kMark = "\xE2\x96\x81";  // U+2581, sentencepiece's space
constexpr uint64_t kLargestModelFile = uint64_t(1) << 28;

class SentencePieceTokenizer : public Tokenizer {
 public:
  explicit SentencePieceTokenizer(const fs::path& folder) : config_(read_tokenizer_config(folder, "LlamaTokenizer")) {
    const std::string config_where = (folder / "tokenizer_config.json").string();
    require(config_.is_llama(),
            "{}: with tokenizer.model and no tokenizer.json, tokenizer_class '{}' is not supported; supported are "
            "LlamaTokenizer and InternLM2Tokenizer",
            config_where, printable(config_.tokenizer_class));
    internlm_ = config_.tokenizer_class == "InternLM2Tokenizer";
    if (internlm_) config_.legacy = true;
    require(
        !(config_.add_bos_token && config_.bos_token.empty()) && !(config_.add_eos_token && config_.eos_token.empty()),
        "{}: asks for bos_token or eos_token around the text but names none", config_where);
    const fs::path file = folder / "tokenizer.model";
    std::string proto = read_text(file, kLargestModelFile);
    require(!proto.empty(), "{}: the file is empty", file.string());
    // Appended fields are merged into the message that came before: normalizer_spec (3) { add_dummy_prefix (3): false
    // }.
    if (!config_.legacy) proto += std::string("\x1A\x02\x18\x00", 4);
    const auto status = model_.LoadFromSerializedProto(proto);
    require(status.ok(), "{}: not a sentencepiece model: {}", file.string(), printable(status.error_message()));
    require(model_.unk_id() >= 0, "{}: the model has no unknown token", file.string());
    unknown_pieces_ = pieces_of(config_.unk_token).size();

    for (const AddedToken& token : config_.added) add(token);
    // Special tokens without an id: the vocabulary's, else the next free one, as transformers numbers them.
    int64_t next = model_.GetPieceSize();
    for (const AddedToken& token : config_.added)
      next += piece_id(token.content) < 0 && token.id >= model_.GetPieceSize();
    for (AddedToken token : config_.special) {
      special_.insert(token.content);
      if (added_.contains(token.content)) continue;
      token.id = piece_id(token.content);
      if (token.id < 0) token.id = next++;
      add(token);
    }
    for (const std::string& name : special_) special_ids_.insert(id_of(name));
  }

  std::vector<int64_t> encode(std::string_view given, bool add_special) const override {
    std::vector<int64_t> ids;
    if (add_special && config_.add_bos_token) ids.push_back(added_.at(config_.bos_token).id);
    for (const std::string& token : tokens_of(repair_utf8(given))) ids.push_back(id_or_unknown(token));
    if (add_special && config_.add_eos_token) ids.push_back(added_.at(config_.eos_token).id);
    return ids;
  }

  std::string decode(const std::vector<int64_t>& ids, bool skip_special) const override {
    // Added tokens stand alone, with spaces around them, but for the special ones with a name; the texts between are
    // decoded one by one. An empty text counts only at the end, as in the reference.
    std::vector<std::string> parts, current;
    const auto flush = [&](bool last) {
      if (current.empty()) return;
      if (std::string text = text_of(current); last || !text.empty()) parts.push_back(std::move(text));
      current.clear();
    };
    for (const int64_t id : ids) {
      if (skip_special && special_ids_.contains(id)) continue;
      const auto added = contents_.find(id);
      if (added == contents_.end()) {
        // Rows that pad the embedding matrix have no text.
        if (id >= 0 && id < model_.GetPieceSize()) current.push_back(model_.IdToPiece(int(id)));
      } else if (!special_.contains(added->second) || stands_alone(added->second, id)) {
        flush(false);
        parts.push_back(added->second);
      } else {
        current.push_back(added->second);
      }
    }
    flush(true);
    std::string text;
    for (size_t i = 0; i < parts.size(); ++i) text += (i > 0 ? " " : "") + parts[i];
    return config_.clean_up_spaces ? tokenizer_parts::clean_up_spaces(std::move(text)) : text;
  }

  int64_t vocab_size() const override {
    int64_t size = model_.GetPieceSize();
    for (const auto& [id, unused] : contents_) size = std::max(size, id + 1);
    return size;
  }

  int64_t id_of(std::string_view token) const override {
    const auto it = added_.find(std::string(token));
    return it == added_.end() ? piece_id(token) : it->second.id;
  }

 private:
  void add(const AddedToken& token) {
    contents_[token.id] = token.content;
    trie_.add(token.content, 0);
    added_.emplace(token.content, token);
  }

  /// additional_special_tokens past the model's own pieces are set apart though they are special.
  bool stands_alone(const std::string& content, int64_t id) const {
    return id >= model_.GetPieceSize() &&
           std::find(config_.additional.begin(), config_.additional.end(), content) != config_.additional.end();
  }

  std::vector<std::string> pieces_of(std::string_view text) const {
    std::vector<std::string> pieces;
    const auto status = model_.Encode(text, &pieces);
    require(status.ok(), "sentencepiece: {}", printable(status.error_message()));
    return pieces;
  }

  /// Id of a piece, or -1; sentencepiece itself gives the unknown id for what it does not know.
  int64_t piece_id(std::string_view piece) const {
    const int id = model_.PieceToId(piece);
    return id != model_.unk_id() || model_.IdToPiece(id) == piece ? id : -1;
  }
  int64_t id_or_unknown(const std::string& token) const {
    const int64_t id = id_of(token);
    return id < 0 ? model_.unk_id() : id;
  }

  std::vector<std::string> tokens_of(std::string text) const {
    if (config_.legacy || text.empty()) return split(text);
    text = replace_all(text, kMark, " ");
    if (config_.add_prefix_space) text.insert(0, kMark);
    std::vector<std::string> tokens = split(text);
    if (tokens.size() > 1 && tokens[0] == kMark && special_.contains(tokens[1])) tokens.erase(tokens.begin());
    return tokens;
  }

  /// Added tokens first, then each part between them.
  std::vector<std::string> split(const std::string& text) const {
    std::vector<std::string> parts;
    size_t done = 0;
    while (const auto match = trie_.find(text, done)) {
      if (match->start > done) parts.push_back(text.substr(done, match->start - done));
      parts.push_back(text.substr(match->start, match->end - match->start));
      done = match->end;
    }
    if (done < text.size()) parts.push_back(text.substr(done));

    for (size_t i = 0; i < parts.size(); ++i) {
      const auto it = added_.find(parts[i]);
      if (it == added_.end()) continue;
      const AddedToken& token = it->second;
      std::string none;
      std::string& left = i > 0 ? parts[i - 1] : none;
      std::string& right = i + 1 < parts.size() ? parts[i + 1] : none;
      // What the neighbours were before stripping decides about single words, as in the reference.
      const std::string left_before = left, right_before = right;
      if (token.rstrip) right = std::string(strip_left(right));
      if (token.lstrip) left = std::string(strip_right(left));
      if (token.single_word && !left_before.empty() && left_before.back() != ' ') {
        left += token.content;
        parts[i].clear();
      } else if (token.single_word && !right_before.empty() && right_before.front() != ' ') {
        right = token.content + right;
        parts[i].clear();
      }
    }
    std::vector<std::string> tokens;
    for (const std::string& part : parts) {
      if (part.empty()) continue;
      if (added_.contains(part)) {
        tokens.push_back(part);
        continue;
      }
      for (std::string& piece : pieces_between(part)) tokens.push_back(std::move(piece));
    }
    return tokens;
  }

  std::vector<std::string> pieces_between(const std::string& part) const {
    if (config_.legacy || !(part.starts_with(kMark) || part.starts_with(' '))) return pieces_of(part);
    // Without its dummy prefix sentencepiece drops a leading space; behind the unknown token's text it keeps it.
    std::vector<std::string> pieces = pieces_of(config_.unk_token + part);
    if (pieces.size() >= unknown_pieces_)
      pieces.erase(pieces.begin(), pieces.begin() + std::ptrdiff_t(unknown_pieces_));
    return pieces;
  }

  std::string decode_pieces(const std::vector<std::string>& pieces) const {
    std::string text;
    const auto status = model_.Decode(pieces, &text);
    require(status.ok(), "sentencepiece: {}", printable(status.error_message()));
    return text;
  }

  /// LlamaTokenizer.convert_tokens_to_string.
  std::string text_of(std::vector<std::string> tokens) const {
    if (internlm_) return internlm_text_of(tokens);
    if (tokens[0].starts_with(kMark) && config_.add_prefix_space) tokens[0].erase(0, kMark.size());
    std::string text;
    std::vector<std::string> pieces;
    bool after_special = false;
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (special_.contains(tokens[i])) {
        if (!after_special && i != 0 && config_.legacy) text += ' ';
        text += decode_pieces(pieces) + tokens[i];
        pieces.clear();
        after_special = true;
      } else {
        if (after_special && i == 1 && config_.add_prefix_space && !tokens[i].starts_with(kMark)) text += ' ';
        pieces.push_back(tokens[i]);
        after_special = false;
      }
    }
    return text + decode_pieces(pieces);
  }

  /// InternLM2Tokenizer.convert_tokens_to_string.
  std::string internlm_text_of(const std::vector<std::string>& tokens) const {
    std::string text;
    std::vector<std::string> pieces;
    bool after_special = false;
    for (const std::string& token : tokens) {
      if (special_.contains(token)) {
        if (!after_special) text += ' ';
        text += decode_pieces(pieces) + token;
        pieces.clear();
        after_special = true;
      } else {
        pieces.push_back(token);
        after_special = false;
      }
    }
    return tokenizer_parts::clean_up_spaces(text + decode_pieces(pieces));
  }

  TokenizerConfig config_;
  bool internlm_ = false;
  sentencepiece::SentencePieceProcessor model_;
  size_t unknown_pieces_ = 0;
  TokenTrie trie_;
  std::unordered_map<std::string, AddedToken> added_;
  std::unordered_map<int64_t, std::string> contents_;
  std::set<std::string> special_;
  std::set<int64_t> special_ids_;
};

}  // namespace

std::unique_ptr<Tokenizer> open_sentencepiece_tokenizer(const fs::path& folder) {
  return std::make_unique<SentencePieceTokenizer>(folder);
}

}  // namespace yopo
