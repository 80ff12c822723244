#include "text/bpe.h"

#include <algorithm>
#include <queue>

#include "core/error.h"
#include "text/added_tokens.h"
#include "text/unicode.h"

namespace yopo {

namespace {

constexpr uint64_t kLargestFile = uint64_t(1) << 28;

}  // namespace

BpeModel BpeModel::parse(const Json& model, const std::string& where) {
  BpeModel bpe;
  // Files of older versions leave the type out; only BPE has merges.
  const std::string type = get_string_or(model, "type", where, has(model, "merges") ? "BPE" : "");
  require(type == "BPE", "{}: type '{}' is not supported; expected BPE", where, printable(type));
  require(get_number_or(model, "dropout", where, 0) == 0, "{}: dropout is not supported: it makes ids random", where);
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    require(get_string_or(model, key, where, "").empty(), "{}: {} is not supported", where, key);
  bpe.byte_fallback_ = get_bool_or(model, "byte_fallback", where, false);
  bpe.fuse_unknown_ = get_bool_or(model, "fuse_unk", where, false);
  bpe.ignore_merges_ = get_bool_or(model, "ignore_merges", where, false);

  bpe.read_vocab(get_object(model, "vocab", where), where + ": vocab");
  if (has(model, "unk_token")) {
    const std::string unknown = get_string(model, "unk_token", where);
    const int64_t id = bpe.id_of(unknown);
    require(id >= 0, "{}: unk_token '{}' is not in the vocabulary", where, printable(unknown));
    bpe.unknown_ = uint32_t(id);
  }
  bpe.read_merges(get_array(model, "merges", where), where + ": merges");
  return bpe;
}

BpeModel BpeModel::read(const fs::path& vocab_file, const fs::path& merges_file) {
  BpeModel bpe;
  const Json vocab = read_json(vocab_file);
  require(vocab.is_object(), "{}: expected an object", vocab_file.string());
  bpe.read_vocab(vocab, vocab_file.string());
  const std::string text = read_text(merges_file, kLargestFile);
  require(valid_utf8(text), "{}: the file is not UTF-8", merges_file.string());
  int64_t number = 0;
  for (std::string_view rest = text; !rest.empty();) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = strip(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (++number == 1 && line.starts_with("#version:")) continue;
    if (line.empty()) continue;
    const std::string place = fmt::format("{}:{}", merges_file.string(), number);
    const size_t space = line.find(' ');
    require(space != std::string_view::npos && line.find(' ', space + 1) == std::string_view::npos,
            "{}: expected two tokens with one space between, found '{}'", place, printable(line));
    const bool fresh = bpe.add_merge(std::string(line.substr(0, space)), std::string(line.substr(space + 1)), place);
    require(fresh, "{}: '{}' is given twice", place, printable(line));
  }
  return bpe;
}

void BpeModel::read_vocab(const Json& vocab, const std::string& where) {
  require(!vocab.empty(), "{}: the vocabulary is empty", where);
  for (const auto& [token, id] : vocab.items()) {
    const bool whole =
        id.is_number_integer() && (!id.is_number_unsigned() || id.get<uint64_t>() <= uint64_t(kLargestId));
    require(whole && id.get<int64_t>() >= 0 && id.get<int64_t>() <= kLargestId,
            "{}: '{}': expected an id in [0, {}], found {}", where, printable(token), kLargestId, id.dump());
    const auto [other, fresh] = tokens_.emplace(id.get<int64_t>(), token);
    require(fresh, "{}: '{}' and '{}' have the same id {}", where, printable(other->second), printable(token),
            other->first);
    vocab_.emplace(token, id.get<uint32_t>());
  }
}

bool BpeModel::add_merge(const std::string& left, const std::string& right, const std::string& place) {
  const auto id = [&](const std::string& token) {
    const int64_t found = id_of(token);
    require(found >= 0, "{}: '{}' is not in the vocabulary", place, printable(token));
    return uint32_t(found);
  };
  const uint64_t pair = uint64_t(id(left)) << 32 | id(right);
  const Merge merge{next_rank_++, id(left + right)};
  return merges_.insert_or_assign(pair, merge).second;  // the last one counts, as in the reference
}

void BpeModel::read_merges(const Json& merges, const std::string& where) {
  for (size_t i = 0; i < merges.size(); ++i) {
    const std::string place = fmt::format("{}[{}]", where, i);
    const Json& merge = merges[i];
    if (merge.is_string()) {
      const std::string text = merge.get<std::string>();
      if (text.starts_with("#version")) continue;
      const size_t space = text.find(' ');
      require(space != std::string::npos && text.find(' ', space + 1) == std::string::npos,
              "{}: expected two tokens with one space between, found '{}'", place, printable(text));
      add_merge(text.substr(0, space), text.substr(space + 1), place);
    } else {
      require(merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string(),
              "{}: expected two tokens, found {}", place, printable(merge.dump()));
      add_merge(merge[0].get<std::string>(), merge[1].get<std::string>(), place);
    }
  }
}

int64_t BpeModel::id_of(std::string_view token) const {
  const auto it = vocab_.find(token);
  return it == vocab_.end() ? -1 : int64_t(it->second);
}

std::vector<uint32_t> BpeModel::symbols(std::string_view piece) const {
  std::vector<uint32_t> ids;
  ids.reserve(piece.size());
  size_t unknown = 0;  // unknown characters seen and not yet written
  const auto flush = [&] {
    ids.insert(ids.end(), fuse_unknown_ ? std::min<size_t>(unknown, 1) : unknown, unknown_.value_or(0));
    unknown = 0;
  };
  while (!piece.empty()) {
    const std::string_view character = piece.substr(0, first_code_point(piece).bytes);
    piece.remove_prefix(character.size());
    if (const auto it = vocab_.find(character); it != vocab_.end()) {
      flush();
      ids.push_back(it->second);
      continue;
    }
    if (byte_fallback_) {
      std::vector<uint32_t> bytes;
      for (const char byte : character) {
        const int64_t id = id_of(fmt::format("<0x{:02X}>", uint8_t(byte)));
        if (id >= 0) bytes.push_back(uint32_t(id));
      }
      if (bytes.size() == character.size()) {
        // The reference writes bytes before unknown characters that came earlier and are still waiting.
        ids.insert(ids.end(), bytes.begin(), bytes.end());
        continue;
      }
    }
    if (!unknown_) continue;  // no unknown token: the character is dropped, as in the reference
    // Without fusing, the reference writes the one that waits as soon as the next comes.
    if (!fuse_unknown_) flush();
    ++unknown;
  }
  flush();
  return ids;
}

void BpeModel::encode(std::string_view piece, std::vector<int64_t>& out) const {
  if (piece.empty()) return;
  if (ignore_merges_) {
    if (const int64_t whole = id_of(piece); whole >= 0) {
      out.push_back(whole);
      return;
    }
  }
  std::vector<uint32_t> ids = symbols(piece);
  require(ids.size() < size_t(INT32_MAX), "a text of {} bytes is too long to tokenise", piece.size());
  const int32_t count = int32_t(ids.size());
  // A doubly linked list over the symbols; a merge keeps its left one. Candidates wait in a heap, lowest rank first and
  // leftmost among equals, and are checked against the list when they come out.
  std::vector<int32_t> previous(count), next(count);
  std::vector<uint8_t> gone(count, 0);
  struct Candidate {
    uint32_t rank, id;
    int32_t at;
    bool operator<(const Candidate& other) const { return rank != other.rank ? rank > other.rank : at > other.at; }
  };
  std::priority_queue<Candidate> candidates;
  const auto merge_of = [&](int32_t left, int32_t right) {
    return merges_.find(uint64_t(ids[size_t(left)]) << 32 | ids[size_t(right)]);
  };
  const auto propose = [&](int32_t left, int32_t right) {
    if (const auto it = merge_of(left, right); it != merges_.end())
      candidates.push({it->second.rank, it->second.id, left});
  };
  for (int32_t i = 0; i < count; ++i) {
    previous[size_t(i)] = i - 1;
    next[size_t(i)] = i + 1 < count ? i + 1 : -1;
    if (i + 1 < count) propose(i, i + 1);
  }
  while (!candidates.empty()) {
    const Candidate best = candidates.top();
    candidates.pop();
    const int32_t left = best.at, right = next[size_t(left)];
    if (gone[size_t(left)] || right < 0) continue;
    const auto it = merge_of(left, right);
    if (it == merges_.end() || it->second.id != best.id) continue;
    ids[size_t(left)] = best.id;
    gone[size_t(right)] = 1;
    const int32_t after = next[size_t(left)] = next[size_t(right)];
    if (after >= 0) {
      previous[size_t(after)] = left;
      propose(left, after);
    }
    if (const int32_t before = previous[size_t(left)]; before >= 0) propose(before, left);
  }
  for (int32_t i = 0; i >= 0 && i < count; i = next[size_t(i)]) out.push_back(ids[size_t(i)]);
}

}  // namespace yopo
